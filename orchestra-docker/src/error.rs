//! What the engine answers, in the contract's words.

use bollard::errors::Error;
use orchestra_core::runtime::RuntimeError;

pub(crate) fn not_found(kind: &str, id: &str) -> RuntimeError {
    RuntimeError::NotFound(format!("{kind} {id}"))
}

/// The operation failed, and trying again does not help.
pub(crate) fn refused(subject: &str, operation: &'static str, why: &str) -> RuntimeError {
    RuntimeError::Failed { subject: subject.to_owned(), operation, transient: false, source: why.into() }
}

/// The engine's status code, where it answered with one.
pub(crate) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Whether it was to be killed, and does not run or is gone. Podman has another code for it.
pub(crate) fn is_over(error: &Error) -> bool {
    matches!(status(error), Some(404 | 409)) || message(error).contains("container state improper")
}

/// Whether something of the name is there already. Podman has another code for it.
pub(crate) fn is_taken(error: &Error) -> bool {
    status(error) == Some(409) || message(error).contains("name is already in use")
}

/// What the engine said, where it did.
pub(crate) fn message(error: &Error) -> &str {
    match error {
        Error::DockerResponseServerError { message, .. } => message,
        Error::DockerStreamError { error } => error,
        _ => "",
    }
}

fn unavailable(error: Error) -> RuntimeError {
    RuntimeError::Unavailable { runtime: "docker".to_owned(), source: Box::new(error) }
}

/// Whether there was no connection, so that nothing can have happened.
fn never_sent(error: &Error) -> bool {
    match error {
        Error::HyperLegacyError { err } => err.is_connect(),
        Error::SocketNotFoundError(_) | Error::UnsupportedURISchemeError { .. } => true,
        _ => false,
    }
}

/// Whether the call was sent, and what became of it is not known.
pub(crate) fn is_lost(error: &Error) -> bool {
    status(error).is_none() && !never_sent(error)
}

/// A call without effect failed.
pub(crate) fn read(subject: &str, operation: &'static str, error: Error) -> RuntimeError {
    match status(&error) {
        Some(404) => RuntimeError::NotFound(subject.to_owned()),
        Some(code) => failed(subject, operation, code >= 500, error),
        None => unavailable(error),
    }
}

/// A call that has an effect failed, or its answer was lost.
pub(crate) fn effect(subject: &str, operation: &'static str, error: Error) -> RuntimeError {
    match status(&error) {
        Some(404) => RuntimeError::NotFound(subject.to_owned()),
        Some(code) => failed(subject, operation, code >= 500, error),
        None if !is_lost(&error) => unavailable(error),
        None => {
            let subject = subject.to_owned();
            RuntimeError::OutcomeUnknown { subject, operation, source: Box::new(error) }
        }
    }
}

fn failed(subject: &str, operation: &'static str, transient: bool, error: Error) -> RuntimeError {
    RuntimeError::Failed { subject: subject.to_owned(), operation, transient, source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status_code: u16) -> Error {
        Error::DockerResponseServerError { status_code, message: "no".to_owned() }
    }

    #[test]
    fn an_answer_is_an_outcome_and_silence_is_none() {
        assert!(matches!(effect("c", "start it", answer(404)), RuntimeError::NotFound(_)));
        assert!(effect("c", "start it", answer(500)).is_transient());
        assert!(!effect("c", "start it", answer(400)).is_transient());
        assert!(effect("c", "start it", Error::RequestTimeoutError).outcome_unknown());
        let lost = read("c", "inspect it", Error::RequestTimeoutError);
        assert!(matches!(lost, RuntimeError::Unavailable { .. }), "{lost:?}");
    }
}
