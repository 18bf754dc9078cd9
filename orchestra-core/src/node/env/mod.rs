//! From a container's environment as it is written to the one it gets. Pure, but for the look-ups it is given.

mod expand;
mod fields;
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) use expand::expand;
pub(crate) use fields::{field_value, resource_value};
pub(crate) use services::service_env;

use crate::model::{
    ConfigMap, Container, EnvFromSource, EnvVarSource, KeySelector, Node, ObjectKey, PersistentVolume,
    PersistentVolumeClaim, Pod, Secret,
};

/// Something that a container's configuration names is missing or makes no sense. No secret value is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// What a pod names, as far as it is there: config maps, secrets, volumes of claims; and the node it is on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    pub(crate) config_maps: BTreeMap<String, Arc<ConfigMap>>,
    pub(crate) secrets: BTreeMap<String, Arc<Secret>>,
    pub(crate) node: Option<Arc<Node>>,
    /// The volumes of the pod's claims, by the name of the claim; or why a claim has none.
    pub(crate) claimed: BTreeMap<String, Result<Arc<PersistentVolume>, String>>,
}

/// The keys of all config maps, secrets and claims that a pod names.
pub(crate) fn references(pod: &Pod) -> BTreeSet<ObjectKey> {
    let namespace = pod.metadata.namespace.as_str();
    let mut keys = BTreeSet::new();
    let mut map = |name: &str| keys.insert(ObjectKey::new::<ConfigMap>(namespace, name));
    for container in pod.spec.init_containers.iter().chain(&pod.spec.containers) {
        for source in container.env_from.iter().filter_map(|s| s.config_map_ref.as_ref()) {
            map(&source.name);
        }
        for source in container.env.iter().filter_map(|v| v.value_from.as_ref()) {
            if let Some(key) = &source.config_map_key_ref {
                map(&key.name);
            }
        }
    }
    for volume in &pod.spec.volumes {
        if let Some(source) = &volume.config_map {
            map(&source.name);
        }
        let projected = volume.projected.iter().flat_map(|p| &p.sources);
        for source in projected.filter_map(|s| s.config_map.as_ref()) {
            map(&source.name);
        }
    }
    keys.extend(pod.spec.claims().map(|name| ObjectKey::new::<PersistentVolumeClaim>(namespace, name)));
    keys.extend(secrets(pod).into_iter().map(|name| ObjectKey::new::<Secret>(namespace, name)));
    keys
}

/// The names of all secrets that a pod names, those for pulling images among them.
fn secrets(pod: &Pod) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for container in pod.spec.init_containers.iter().chain(&pod.spec.containers) {
        names
            .extend(container.env_from.iter().filter_map(|s| s.secret_ref.as_ref()).map(|s| s.name.as_str()));
        let sources = container.env.iter().filter_map(|v| v.value_from.as_ref());
        names.extend(sources.filter_map(|s| s.secret_key_ref.as_ref()).map(|s| s.name.as_str()));
    }
    for volume in &pod.spec.volumes {
        names.extend(volume.secret.iter().map(|s| s.secret_name.as_str()));
        let projected = volume.projected.iter().flat_map(|p| &p.sources);
        names.extend(projected.filter_map(|s| s.secret.as_ref()).map(|s| s.name.as_str()));
    }
    names.extend(pod.spec.image_pull_secrets.iter().map(|s| s.name.as_str()));
    names
}

/// The environment of `container`: services first, then `envFrom`, then `env`; the later of two of one name holds.
pub(crate) fn environment(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
    services: &[(String, String)],
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut env = Environment::default();
    for (name, value) in services {
        env.set(name, value.clone());
    }
    for source in &container.env_from {
        from_source(&mut env, source, sources)?;
    }
    for variable in &container.env {
        let value = match &variable.value_from {
            None => Some(expand(&variable.value, |name| env.get(name))),
            Some(source) => value_from(pod, container, source, sources).map_err(|e| {
                ConfigError(format!("variable {} of container {}: {e}", variable.name, container.name))
            })?,
        };
        if let Some(value) = value {
            env.set(&variable.name, value);
        }
    }
    Ok(env.variables)
}

/// Variables in the order in which their names first came.
#[derive(Default)]
struct Environment {
    variables: Vec<(String, String)>,
    places: BTreeMap<String, usize>,
}

impl Environment {
    fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|&i| self.variables[i].1.as_str())
    }

    fn set(&mut self, name: &str, value: String) {
        if let Some(&i) = self.places.get(name) {
            self.variables[i].1 = value;
        } else {
            self.places.insert(name.to_owned(), self.variables.len());
            self.variables.push((name.to_owned(), value));
        }
    }
}

fn from_source(env: &mut Environment, source: &EnvFromSource, sources: &Sources) -> Result<(), ConfigError> {
    let mut set = |key: &str, value: &str| env.set(&format!("{}{key}", source.prefix), value.to_owned());
    if let Some(wanted) = &source.config_map_ref {
        match sources.config_maps.get(&wanted.name) {
            Some(map) => map.data.iter().for_each(|(key, value)| set(key, value)),
            None if wanted.optional => {}
            None => return Err(missing("config map", &wanted.name)),
        }
    }
    if let Some(wanted) = &source.secret_ref {
        match sources.secrets.get(&wanted.name) {
            Some(secret) => {
                for (key, value) in &secret.data {
                    // What is not text can't be a variable; Kubernetes leaves it out too.
                    if let Some(text) = value.as_text() {
                        set(key, text);
                    }
                }
            }
            None if wanted.optional => {}
            None => return Err(missing("secret", &wanted.name)),
        }
    }
    Ok(())
}

fn value_from(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    sources: &Sources,
) -> Result<Option<String>, ConfigError> {
    if let Some(wanted) = &source.config_map_key_ref {
        let found =
            sources.config_maps.get(&wanted.name).map(|m| m.data.value(&wanted.key).map(str::to_owned));
        return choose("config map", wanted, found);
    }
    if let Some(wanted) = &source.secret_key_ref {
        let found = sources.secrets.get(&wanted.name);
        let value = |secret: &Arc<Secret>| secret.data.get(&wanted.key).cloned();
        let found = match found.map(value) {
            Some(Some(bytes)) => match bytes.as_text() {
                Some(text) => Some(Some(text.to_owned())),
                None => {
                    return Err(ConfigError(format!(
                        "key {} of secret {} is no text",
                        wanted.key, wanted.name
                    )));
                }
            },
            Some(None) => Some(None),
            None => None,
        };
        return choose("secret", wanted, found);
    }
    if let Some(field) = &source.field_ref {
        return field_value(pod, &field.field_path, sources.node.as_deref()).map(Some);
    }
    if let Some(resource) = &source.resource_field_ref {
        return resource_value(pod, Some(container), resource, sources.node.as_deref()).map(Some);
    }
    Err(ConfigError("valueFrom names no source".to_owned()))
}

/// The value of a key; nothing where it is missing and may be.
fn choose(
    kind: &str,
    wanted: &KeySelector,
    found: Option<Option<String>>,
) -> Result<Option<String>, ConfigError> {
    match found {
        Some(Some(value)) => Ok(Some(value)),
        _ if wanted.optional => Ok(None),
        Some(None) => Err(ConfigError(format!("{kind} {} has no key {}", wanted.name, wanted.key))),
        None => Err(missing(kind, &wanted.name)),
    }
}

pub(crate) fn missing(kind: &str, name: &str) -> ConfigError {
    ConfigError(format!("{kind} {name} does not exist; create it, or mark the reference as optional"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EnvVar, PodSpec};

    fn sources() -> Sources {
        let map = ConfigMap::new("settings").entry("COLOUR", "blue").entry("SIZE", "xl");
        let secret = Secret::new("keys").entry("TOKEN", "s3cret").entry("BLOB", [0xff, 0xfe]);
        Sources {
            config_maps: BTreeMap::from([("settings".to_owned(), Arc::new(map))]),
            secrets: BTreeMap::from([("keys".to_owned(), Arc::new(secret))]),
            ..Sources::default()
        }
    }

    fn resolve(container: &Container) -> Result<Vec<(String, String)>, ConfigError> {
        let pod = Pod::new("web").namespace("shop").node("n1").spec(PodSpec::new(container.clone()));
        environment(&pod, container, &sources(), &[("WEB_SERVICE_HOST".into(), "10.0.0.1".into())])
    }

    #[test]
    fn later_sources_win_and_earlier_ones_can_be_used() {
        let container = Container::new("web", "img")
            .env_from_config_map("settings")
            .env_from_secret("keys")
            .env("SIZE", "s")
            .env("URL", "http://$(WEB_SERVICE_HOST)/$(SIZE)/$(NOBODY)/$$(SIZE)")
            .env_var(EnvVar::field("NAME", "metadata.name"))
            .env_var(EnvVar::secret("T", "keys", "TOKEN"));
        let expected = [
            ("WEB_SERVICE_HOST", "10.0.0.1"),
            ("COLOUR", "blue"),
            ("SIZE", "s"),
            ("TOKEN", "s3cret"),
            ("URL", "http://10.0.0.1/s/$(NOBODY)/$(SIZE)"),
            ("NAME", "web"),
            ("T", "s3cret"),
        ];
        let expected: Vec<_> = expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(resolve(&container).unwrap(), expected);
    }

    #[test]
    fn what_is_missing_is_named_unless_it_is_optional() {
        let missing = Container::new("web", "img").env_var(EnvVar::config_map("X", "nothing", "KEY"));
        let error = resolve(&missing).unwrap_err().to_string();
        assert!(error.contains("variable X of container web: config map nothing does not exist"), "{error}");
        let key = Container::new("web", "img").env_var(EnvVar::secret("X", "keys", "OTHER"));
        let error = resolve(&key).unwrap_err().to_string();
        assert!(error.contains("secret keys has no key OTHER") && !error.contains("s3cret"), "{error}");
        let mut optional = EnvVar::config_map("X", "nothing", "KEY");
        optional.value_from.as_mut().unwrap().config_map_key_ref.as_mut().unwrap().optional = true;
        assert_eq!(resolve(&Container::new("web", "img").env_var(optional)).unwrap().len(), 1);
    }

    #[test]
    fn references_are_found_wherever_they_stand() {
        let container =
            Container::new("web", "img").env_from_config_map("a").env_var(EnvVar::secret("X", "b", "k"));
        let spec = PodSpec::new(container)
            .volume(crate::model::Volume::config_map("v", "c"))
            .volume(crate::model::Volume::secret("w", "d"));
        let keys = references(&Pod::new("web").namespace("shop").spec(spec));
        let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        assert_eq!(keys, ["ConfigMap shop/a", "ConfigMap shop/c", "Secret shop/b", "Secret shop/d"]);
    }
}
