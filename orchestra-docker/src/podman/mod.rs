//! Where Podman's Docker API differs from Docker's so much that it takes more than a word.

pub(crate) mod logs;
mod volumes;
mod wait;

use bollard::errors::Error;
use bollard::models::SystemVersion;
use orchestra_core::runtime::RuntimeError;
use serde_json::Value;

use crate::files::ImageFiles;

pub(crate) use volumes::make_volumes;
pub(crate) use wait::ended;

/// Podman's word for a container that has ended and that it has yet to clean up after. The client does not know it.
const STOPPED: &str = "stopped";

/// Whether the engine is Podman.
pub(crate) fn is(version: &SystemVersion) -> bool {
    version.components.iter().flatten().any(|part| part.name.starts_with("Podman"))
}

/// Refuses files with more to note in the image than Podman (4.3) takes from its client: one instruction.
pub(crate) fn check_files(name: &str, files: &ImageFiles) -> Result<(), RuntimeError> {
    if files.instructions().len() > 1 {
        let why = "Podman imports an image with one variable, or with a program, and not with more of them: set variables in the \
                   container's spec"
            .to_owned();
        return Err(RuntimeError::Unsupported { subject: name.to_owned(), why });
    }
    Ok(())
}

/// A container's description or a list of containers, also where one of them is [`STOPPED`]: it is read as one that has exited, with the
/// exit code and time that it has by then.
pub(crate) fn read<T: serde::de::DeserializeOwned>(answer: Result<T, Error>) -> Result<T, Error> {
    match answer {
        Err(Error::JsonDataError { message, contents, .. })
            if message.contains("unknown variant `stopped`") =>
        {
            let mut value = serde_json::from_str(&contents)?;
            replace(&mut value);
            // From text, as the client reads all else: a second reader would be large.
            Ok(serde_json::from_slice(&serde_json::to_vec(&value)?)?)
        }
        answer => answer,
    }
}

/// Puts the word that the client knows in place of Podman's.
fn replace(value: &mut Value) {
    if let Value::Array(list) = value {
        return list.iter_mut().for_each(replace);
    }
    // A description has a state with a status, and an entry of a list a state that is the word.
    let state = match value.pointer("/State/Status") {
        Some(_) => value.pointer_mut("/State/Status"),
        None => value.pointer_mut("/State"),
    };
    if let Some(state) = state.filter(|state| **state == STOPPED) {
        *state = "exited".into();
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::{
        ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, ContainerSummaryStateEnum,
    };

    use super::*;

    fn unread(contents: &str) -> Error {
        let message = "unknown variant `stopped`, expected one of ``, `created`".to_owned();
        Error::JsonDataError { message, contents: contents.to_owned(), column: 1 }
    }

    #[test]
    fn who_is_stopped_has_exited() {
        let answer = unread(r#"{"Name":"stopped","State":{"Status":"stopped","ExitCode":7}}"#);
        let details = read::<ContainerInspectResponse>(Err(answer)).unwrap();
        let state = details.state.unwrap();
        assert_eq!((state.status, state.exit_code), (Some(ContainerStateStatusEnum::EXITED), Some(7)));
        assert_eq!(details.name.as_deref(), Some("stopped"));
        let answer = unread(r#"[{"State":"running"},{"State":"stopped","Image":"stopped"}]"#);
        let listed = read::<Vec<ContainerSummary>>(Err(answer)).unwrap();
        let states: Vec<_> = listed.iter().map(|summary| summary.state).collect();
        let expected = [ContainerSummaryStateEnum::RUNNING, ContainerSummaryStateEnum::EXITED];
        assert_eq!(states, expected.map(Some));
        assert_eq!(listed[1].image.as_deref(), Some("stopped"));
        assert!(read::<ContainerInspectResponse>(Err(Error::RequestTimeoutError)).is_err());
    }
}
