//! Credentials for image registries, as Docker writes them down.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// The registry of an image without one in its name, and the other name it has in credentials.
const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_REGISTRY_LONG: &str = "index.docker.io";

/// What Docker's credential helpers know the default registry by.
const DEFAULT_SERVER: &str = "https://index.docker.io/v1/";

/// Credentials for a registry. `Debug` shows no secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RegistryAuth {
    /// The registry's host.
    pub server: String,
    /// The user.
    pub username: String,
    /// The password or token.
    pub password: String,
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryAuth").field("server", &self.server).finish_non_exhaustive()
    }
}

impl RegistryAuth {
    /// The credentials for `image` that a Docker configuration holds itself: `~/.docker/config.json`, or a Secret of type
    /// `kubernetes.io/dockerconfigjson`. What makes no sense in it is left out, and shows as a refused pull.
    #[must_use]
    pub fn of_docker_config(config: &[u8], image: &str) -> Option<Self> {
        let config: Value = serde_json::from_slice(config).ok()?;
        let registry = registry_of(image);
        let (server, entry) =
            config.get("auths")?.as_object()?.iter().find(|(server, _)| host_of(server) == registry)?;
        let text = |field: &str| entry.get(field).and_then(Value::as_str).map(str::to_owned);
        let joined = || {
            let decoded = String::from_utf8(STANDARD.decode(text("auth")?).ok()?).ok()?;
            decoded.split_once(':').map(|(username, password)| (username.to_owned(), password.to_owned()))
        };
        let (username, password) = text("username").zip(text("password")).or_else(joined)?;
        Some(Self { server: server.clone(), username, password })
    }

    /// The credential helper that a Docker configuration names for `image`, and what the helper knows its registry by:
    /// the program `docker-credential-HELPER` keeps the credentials then, and the configuration has none itself.
    #[must_use]
    pub fn helper_of_docker_config(config: &[u8], image: &str) -> Option<(String, String)> {
        let config: Value = serde_json::from_slice(config).ok()?;
        let registry = registry_of(image);
        let own = config.get("credHelpers").and_then(Value::as_object).and_then(|helpers| {
            helpers.iter().find(|(server, _)| host_of(server) == registry).map(|(_, helper)| helper)
        });
        let helper =
            own.or_else(|| config.get("credsStore"))?.as_str().filter(|helper| !helper.is_empty())?;
        let server = if registry == DEFAULT_REGISTRY { DEFAULT_SERVER } else { registry };
        Some((helper.to_owned(), server.to_owned()))
    }
}

/// The host that an image comes from: what stands before the first slash, where it looks like a host.
fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => known(host),
        _ => DEFAULT_REGISTRY,
    }
}

fn host_of(server: &str) -> &str {
    let server = server.trim_start_matches("https://").trim_start_matches("http://");
    known(server.split('/').next().unwrap_or_default())
}

fn known(host: &str) -> &str {
    if host == DEFAULT_REGISTRY_LONG { DEFAULT_REGISTRY } else { host }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_for_the_registry_is_chosen() {
        let config = serde_json::json!({"auths": {
            "https://index.docker.io/v1/": {"auth": STANDARD.encode("me:hub:2")},
            "registry.example.com:5000": {"username": "you", "password": "own"},
            "broken.example.com": {"auth": "?"},
        }});
        let config = config.to_string();
        let found = |image: &str| RegistryAuth::of_docker_config(config.as_bytes(), image);
        let user = |image: &str| found(image).map(|auth| (auth.username, auth.password));
        for image in ["nginx", "library/nginx:1", "docker.io/nginx", "index.docker.io/library/nginx"] {
            assert_eq!(user(image), Some(("me".into(), "hub:2".into())), "{image}");
        }
        assert_eq!(user("registry.example.com:5000/a/b:2"), Some(("you".into(), "own".into())));
        for image in ["ghcr.io/a/b", "broken.example.com/a", "registry.example.com/a"] {
            assert_eq!(user(image), None, "{image}");
        }
        assert_eq!(RegistryAuth::of_docker_config(b"{", "nginx"), None);
        assert!(!format!("{:?}", found("nginx")).contains("hub"));
    }

    #[test]
    fn helpers_are_named_for_a_registry_or_for_all() {
        let config = br#"{"credsStore": "pass", "credHelpers": {"gcr.io": "gcloud"}}"#;
        let named = |image: &str| RegistryAuth::helper_of_docker_config(config, image).unwrap();
        assert_eq!(named("gcr.io/a/b"), ("gcloud".to_owned(), "gcr.io".to_owned()));
        assert_eq!(named("nginx"), ("pass".to_owned(), DEFAULT_SERVER.to_owned()));
        assert_eq!(RegistryAuth::helper_of_docker_config(br#"{"auths": {}}"#, "nginx"), None);
    }
}
