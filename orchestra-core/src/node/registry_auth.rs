//! Credentials for image registries out of pull secrets.

use super::env::Sources;
use crate::model::Pod;
use crate::runtime::RegistryAuth;

/// What a secret of type `kubernetes.io/dockerconfigjson` has its configuration under.
const KEY: &str = ".dockerconfigjson";

/// The credentials for `image` among the pod's pull secrets, where there are any.
pub(crate) fn registry_auth(pod: &Pod, image: &str, sources: &Sources) -> Option<RegistryAuth> {
    let mut secrets = pod.spec.image_pull_secrets.iter().filter_map(|s| sources.secrets.get(&s.name));
    secrets.find_map(|secret| RegistryAuth::of_docker_config(secret.data.get(KEY)?.as_bytes(), image))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{LocalObjectReference, Secret};

    #[test]
    fn the_first_secret_with_the_registry_is_taken() {
        let mut pod = Pod::new("web");
        let mut sources = Sources::default();
        for (name, registry, user) in
            [("other", "ghcr.io", "you"), ("first", "gcr.io", "me"), ("second", "gcr.io", "they")]
        {
            let config = serde_json::json!({"auths": {registry: {"username": user, "password": "own"}}});
            let secret = Secret::new(name).entry(KEY, config.to_string());
            sources.secrets.insert(name.to_owned(), Arc::new(secret));
            let reference = LocalObjectReference { name: name.into(), ..Default::default() };
            pod.spec_mut().image_pull_secrets.push(reference);
        }
        let user = |image: &str| registry_auth(&pod, image, &sources).map(|auth| auth.username);
        assert_eq!(user("gcr.io/a/b:2").as_deref(), Some("me"));
        assert_eq!(user("nginx"), None);
    }
}
