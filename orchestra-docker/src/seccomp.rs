//! Files that say which system calls a container may make.

use std::path::Path;

use orchestra_core::runtime::{ContainerSpec, RuntimeError, Seccomp};
use tokio::io::AsyncReadExt;

use crate::error;

/// How many bytes a profile may have: the engine's own has some 12,000.
const LIMIT: u64 = 1 << 20;

/// The content of the profile that a container asks for, where that is a file; the engine is told it as a whole. Podman is told the
/// file's path.
pub(crate) async fn profile(
    dir: Option<&Path>,
    spec: &ContainerSpec,
    is_podman: bool,
) -> Result<Option<String>, RuntimeError> {
    let Some(Seccomp::Localhost(path)) = &spec.seccomp else { return Ok(None) };
    let subject = format!("container {}", spec.name);
    let Some(dir) = dir else {
        let why = "its seccompProfile is of the type Localhost, and the runtime has no directory of profiles"
            .to_owned();
        return Err(RuntimeError::Unsupported { subject, why });
    };
    let read = async {
        // Links lead nowhere else either.
        let (dir, file) =
            (tokio::fs::canonicalize(dir).await?, tokio::fs::canonicalize(dir.join(path)).await?);
        if !file.starts_with(&dir) {
            return Err(std::io::Error::other("it is not below the directory of profiles"));
        }
        let (mut content, path) = (String::new(), file.display().to_string());
        let file = tokio::fs::File::open(file).await?;
        if file.take(LIMIT + 1).read_to_string(&mut content).await? as u64 > LIMIT {
            return Err(std::io::Error::other(format!("a profile has at most {LIMIT} bytes")));
        }
        // Podman reads it itself.
        Ok(if is_podman { path } else { content })
    };
    let why = |error: std::io::Error| format!("{}: {error}", path.display());
    read.await.map(Some).map_err(|error| error::refused(&subject, "read its seccomp profile", &why(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn profiles_are_files_of_their_directory() {
        let dir = std::env::temp_dir().join(format!("orchestra-seccomp-{}", std::process::id()));
        let profiles = dir.join("profiles");
        std::fs::create_dir_all(&profiles).unwrap();
        std::fs::write(profiles.join("none.json"), "{}").unwrap();
        std::fs::write(dir.join("outside.json"), "{}").unwrap();
        std::os::unix::fs::symlink(dir.join("outside.json"), profiles.join("link.json")).unwrap();
        let mut spec = ContainerSpec::new("main", "web:1");
        let mut read = async |path: &str| {
            spec.seccomp = Some(Seccomp::Localhost(path.into()));
            profile(Some(&profiles), &spec, false).await
        };
        assert_eq!(read("none.json").await.unwrap().as_deref(), Some("{}"));
        for path in ["link.json", "../outside.json", "/etc/passwd", "missing.json"] {
            assert!(read(path).await.is_err(), "{path}");
        }
        assert!(matches!(profile(None, &spec, false).await, Err(RuntimeError::Unsupported { .. })));
        spec.seccomp = Some(Seccomp::RuntimeDefault);
        assert_eq!(profile(None, &spec, false).await.unwrap(), None);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
