//! Short forms of the errors that are made all over the crate.

use std::error::Error;
use std::io;

use orchestra_core::runtime::RuntimeError;

/// The operation failed and had no effect. A lack of resources may pass, other failures don't.
pub(crate) fn failed(subject: &str, operation: &'static str, error: impl Into<io::Error>) -> RuntimeError {
    let error = error.into();
    RuntimeError::Failed {
        subject: subject.to_owned(),
        operation,
        transient: passes(&error),
        source: Box::new(error),
    }
}

/// The program can't be run.
pub(crate) fn start(
    subject: &str,
    program: &str,
    error: impl Into<Box<dyn Error + Send + Sync>>,
) -> RuntimeError {
    RuntimeError::Start { subject: subject.to_owned(), program: program.to_owned(), source: error.into() }
}

pub(crate) fn unsupported(subject: &str, why: impl Into<String>) -> RuntimeError {
    RuntimeError::Unsupported { subject: subject.to_owned(), why: why.into() }
}

pub(crate) fn not_found(kind: &str, id: &str) -> RuntimeError {
    RuntimeError::NotFound(format!("{kind} {id}"))
}

/// Whether an error is a shortage (of memory, processes, descriptors, space) or a busy file.
pub(crate) fn passes(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let shortage =
        [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE, Errno::NOSPC, Errno::DQUOT, Errno::TXTBSY];
    error.raw_os_error().is_some_and(|code| shortage.iter().any(|errno| errno.raw_os_error() == code))
}
