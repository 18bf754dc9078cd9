//! Termination messages: a file of the host that a container finds at `/dev/termination-log`.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use orchestra_core::runtime::RuntimeError;

use crate::labels;

/// How much of a message is kept: Kubernetes' limit.
const LIMIT: u64 = 4096;

fn failed(subject: &str, operation: &'static str, error: io::Error) -> RuntimeError {
    RuntimeError::Failed { subject: subject.to_owned(), operation, transient: true, source: Box::new(error) }
}

/// The directory of the cluster's messages, which only its owner can look into.
pub(crate) fn prepare(dir: &Path, cluster: &str) -> Result<PathBuf, RuntimeError> {
    let dir = std::path::absolute(dir).map(|dir| dir.join(labels::cluster_prefix(cluster)));
    let made = dir.and_then(|dir| {
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, Permissions::from_mode(0o700))?;
        Ok(dir)
    });
    made.map_err(|error| failed("the state directory", "create it", error))
}

/// Makes the file of a container, writable for whatever user it runs as. A file that is there is kept.
pub(crate) fn create(dir: &Path, container: &str) -> Result<PathBuf, RuntimeError> {
    let path = dir.join(container);
    let made = File::options().append(true).create(true).open(&path);
    made.and_then(|file| file.set_permissions(Permissions::from_mode(0o666)))
        .map_err(|error| failed(container, "create the file of its termination message", error))?;
    Ok(path)
}

/// The last of what a container left to say; empty where nothing.
pub(crate) fn read(dir: &Path, container: &str) -> String {
    match read_end(&dir.join(container)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(container, %error, "its termination message can't be read");
            }
            String::new()
        }
    }
}

fn read_end(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LIMIT)))?;
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn remove(dir: &Path, container: &str) {
    match fs::remove_file(dir.join(container)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(container, %error, "the file of its termination message is left");
        }
        _ => {}
    }
}

/// Removes the files whose containers are not wanted any more.
pub(crate) fn remove_all(dir: &Path, unwanted: impl Fn(&str) -> bool) {
    let files = match fs::read_dir(dir) {
        Ok(files) => files,
        Err(error) => return tracing::warn!(%error, "termination messages can't be listed"),
    };
    for file in files.flatten() {
        if let Some(container) = file.file_name().to_str().filter(|name| unwanted(name)) {
            remove(dir, container);
        }
    }
}

/// Whether a container was in this sandbox of its pod, or an earlier one: somebody may have removed both, and then
/// nobody is asked to remove the container.
pub(crate) fn is_of(container: &str, sandbox: &str) -> bool {
    let Some((pod, attempt)) = sandbox.rsplit_once('.') else { return false };
    let rest = container.strip_prefix(pod).and_then(|rest| rest.strip_prefix('.'));
    let of = rest.and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    attempt.parse().is_ok_and(|last: u32| of.is_some_and(|of| of <= last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_message_the_end_is_kept() {
        let dir = std::env::temp_dir().join(format!("orchestra-docker-message-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("c"), format!("{}the cause", "much ado\n".repeat(1000))).unwrap();
        let message = read(&dir, "c");
        fs::remove_dir_all(&dir).unwrap();
        assert!(message.len() as u64 == LIMIT && message.ends_with("the cause"), "{message}");
        assert_eq!(read(&dir, "c"), "");
    }

    #[test]
    fn containers_are_told_by_pod_and_sandbox() {
        for (container, expected) in [
            ("orchestra.c.uid.2.web.0", true),
            ("orchestra.c.uid.0.web.7", true),
            ("orchestra.c.uid.3.web.0", false),
            ("orchestra.c.uid-b.0.web.0", false),
            ("orchestra.c.uid", false),
            ("somebody", false),
        ] {
            assert_eq!(is_of(container, "orchestra.c.uid.2"), expected, "{container}");
        }
    }
}
