//! Credentials for registries out of Docker's own configuration.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use orchestra_core::runtime::{RegistryAuth, RuntimeError};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// How long a credential helper may take: some ask a service.
const HELPER_LIMIT: Duration = Duration::from_secs(30);

/// What helpers say, and end with an error, where they have nothing for a registry.
const NOT_FOUND: &str = "credentials not found";

fn failed(
    subject: &str,
    operation: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> RuntimeError {
    RuntimeError::Failed { subject: subject.to_owned(), operation, transient: true, source: source.into() }
}

/// The credentials for `image` by this configuration file, which is read each time: tokens are renewed. Without the file there
/// are none.
pub(crate) async fn of(file: &Path, image: &str) -> Result<Option<RegistryAuth>, RuntimeError> {
    let config = match tokio::fs::read(file).await {
        Ok(config) => config,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(failed(&file.display().to_string(), "read the registries' credentials", error));
        }
    };
    let kept = RegistryAuth::of_docker_config(&config, image);
    let Some((helper, server)) = RegistryAuth::helper_of_docker_config(&config, image) else {
        return Ok(kept);
    };
    // It becomes part of a program's name.
    if !helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        let why = format!("{helper:?} is no name of a credential helper");
        return Err(failed(&file.display().to_string(), "read the registries' credentials", why));
    }
    Ok(ask(&format!("docker-credential-{helper}"), &server).await?.or(kept))
}

/// Asks a credential helper: the server goes in, and JSON comes out.
async fn ask(program: &str, server: &str) -> Result<Option<RegistryAuth>, RuntimeError> {
    let fail = |source| Err(failed(program, "ask it for a registry's credentials", source));
    let asked = tokio::time::timeout(HELPER_LIMIT, run(program, server)).await;
    let output = match asked {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return fail(Box::<dyn std::error::Error + Send + Sync>::from(error)),
        Err(elapsed) => return fail(elapsed.into()),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned();
        return if said.contains(NOT_FOUND) { Ok(None) } else { fail(said.into()) };
    }
    let Ok(answer) = serde_json::from_slice::<Value>(&output.stdout) else {
        // Not what it said, which may hold a secret.
        return fail("it does not answer with JSON".into());
    };
    let text = |field: &str| answer.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (username, password) = (text("Username"), text("Secret"));
    Ok(Some(RegistryAuth { server: server.to_owned(), username, password }))
}

async fn run(program: &str, server: &str) -> std::io::Result<std::process::Output> {
    let mut command = Command::new(program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(server.as_bytes()).await?;
    }
    child.wait_with_output().await
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn helpers_are_asked_and_may_have_nothing() {
        let dir = std::env::temp_dir().join(format!("orchestra-credentials-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let program = dir.join("docker-credential-test");
        let script = r#"#!/bin/sh
            read -r server
            [ "$1 $server" = "get gcr.io" ] || { echo "credentials not found in native keychain"; exit 1; }
            echo "{\"Username\": \"me\", \"Secret\": \"own\", \"ServerURL\": \"$server\"}""#;
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let program = program.display().to_string();
        let found = ask(&program, "gcr.io").await.unwrap().unwrap();
        assert_eq!((found.username.as_str(), found.password.as_str()), ("me", "own"));
        assert_eq!(ask(&program, "ghcr.io").await.unwrap(), None);
        let missing = ask(&dir.join("no-helper").display().to_string(), "gcr.io").await.unwrap_err();
        assert!(missing.is_transient(), "{missing:?}");
        let config = dir.join("config.json");
        assert_eq!(of(&config, "gcr.io/a").await.unwrap(), None);
        std::fs::write(&config, r#"{"credsStore": "../x"}"#).unwrap();
        assert!(of(&config, "gcr.io/a").await.is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
