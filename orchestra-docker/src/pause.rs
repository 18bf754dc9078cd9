//! The sandboxes' image: one static program, compiled with this crate.

use bollard::Docker;
use orchestra_core::runtime::RuntimeError;

use crate::error;
use crate::files::ImageFiles;
use crate::image;

/// Compiled by the build script for this target; empty where it can't be.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

const REPOSITORY: &str = "orchestra-pause";

/// Makes the image present, and says its name. The name tells the content, so another version has its own.
pub(crate) async fn ensure(docker: &Docker) -> Result<String, RuntimeError> {
    let info = docker.info().await.map_err(|error| error::read("the engine", "ask what it is", error))?;
    let (theirs, ours) = (info.architecture.unwrap_or_default(), std::env::consts::ARCH);
    // Podman's words.
    let theirs = match theirs.as_str() {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    };
    if PROGRAM.is_empty() || theirs != ours {
        return Err(RuntimeError::Unsupported {
            subject: "the engine".to_owned(),
            why: format!(
                "its host is {theirs}, and this program was built for {ours}, so it has no sandbox program for it: \
                 use one built for the engine's architecture (x86_64 or aarch64 Linux)"
            ),
        });
    }
    let name = format!("{REPOSITORY}:{:016x}", fingerprint(PROGRAM));
    if image::inspect(docker, &name).await?.is_none() {
        let mut files = ImageFiles::new();
        files.file("pause", 0o755, PROGRAM)?;
        image::import(docker, &name, &files).await?;
    }
    Ok(name)
}

/// FNV-1a, which tells builds of one program apart.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
