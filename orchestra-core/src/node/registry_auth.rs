//! Credentials for image registries out of pull secrets.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::env::Sources;
use crate::model::{Pod, Secret};
use crate::runtime::RegistryAuth;

/// The registry of an image without one in its name, and the other name it has in credentials.
const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_REGISTRY_LONG: &str = "index.docker.io";

/// The credentials for `image` among the pod's pull secrets, where there are any.
pub(crate) fn registry_auth(pod: &Pod, image: &str, sources: &Sources) -> Option<RegistryAuth> {
    let registry = registry_of(image);
    let secrets = pod.spec.image_pull_secrets.iter().filter_map(|s| sources.secrets.get(&s.name));
    secrets.flat_map(entries).find(|auth| host_of(&auth.server) == registry)
}

/// The host that an image comes from: what stands before the first slash, where it looks like a host.
fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => DEFAULT_REGISTRY,
    }
}

fn host_of(server: &str) -> &str {
    let server = server.trim_start_matches("https://").trim_start_matches("http://");
    let host = server.split('/').next().unwrap_or_default();
    if host == DEFAULT_REGISTRY_LONG { DEFAULT_REGISTRY } else { host }
}

/// All credentials in a secret of type `kubernetes.io/dockerconfigjson`. What makes no sense is left out, and
/// shows as a refused pull.
fn entries(secret: &Arc<Secret>) -> Vec<RegistryAuth> {
    let config = secret.data.get(".dockerconfigjson").map(|b| serde_json::from_slice::<Value>(b.as_bytes()));
    let Some(Ok(config)) = config else { return Vec::new() };
    let Some(auths) = config.get("auths").and_then(Value::as_object) else { return Vec::new() };
    let text = |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).map(str::to_owned);
    let mut found = Vec::new();
    for (server, entry) in auths {
        let named = text(entry, "username").zip(text(entry, "password"));
        let joined = text(entry, "auth").and_then(|auth| {
            let decoded = String::from_utf8(STANDARD.decode(auth).ok()?).ok()?;
            let (username, password) = decoded.split_once(':')?;
            Some((username.to_owned(), password.to_owned()))
        });
        if let Some((username, password)) = named.or(joined) {
            found.push(RegistryAuth { server: server.clone(), username, password });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LocalObjectReference;

    #[test]
    fn the_secret_for_the_registry_is_chosen() {
        let config = serde_json::json!({"auths": {
            "https://index.docker.io/v1/": {"auth": STANDARD.encode("me:hub")},
            "registry.example.com:5000": {"username": "you", "password": "own"},
        }});
        let secret = Secret::new("pull").entry(".dockerconfigjson", config.to_string());
        let mut pod = Pod::new("web");
        pod.spec_mut()
            .image_pull_secrets
            .push(LocalObjectReference { name: "pull".into(), ..Default::default() });
        let mut sources = Sources::default();
        sources.secrets.insert("pull".to_owned(), Arc::new(secret));
        let user = |image: &str| registry_auth(&pod, image, &sources).map(|a| (a.username, a.password));
        assert_eq!(user("nginx"), Some(("me".into(), "hub".into())));
        assert_eq!(user("library/nginx:1"), Some(("me".into(), "hub".into())));
        assert_eq!(user("registry.example.com:5000/a/b:2"), Some(("you".into(), "own".into())));
        assert_eq!(user("ghcr.io/a/b"), None);
    }
}
