//! The files of volumes that the agent writes. Pure.

use std::collections::BTreeMap;

use super::{FileSet, VolumeFile, check_relative};
use crate::model::{ByteString, ConfigMap, DownwardApiFile, KeyToPath, Node, Pod, Secret, Volume};
use crate::node::env::{ConfigError, Sources, field_value, missing, resource_value};

/// Whether the agent writes the files of this volume, from objects.
pub(crate) fn is_written(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

/// The files of a volume, from the objects as they are now.
pub(crate) fn file_set(pod: &Pod, volume: &Volume, sources: &Sources) -> Result<FileSet, ConfigError> {
    let mut files = Files { pod, sources, mode: 0, set: FileSet::default() };
    if let Some(source) = &volume.config_map {
        files.mode = source.default_mode;
        files.config_map(&source.name, &source.items, source.optional)?;
    }
    if let Some(source) = &volume.secret {
        files.mode = source.default_mode;
        files.secret(&source.secret_name, &source.items, source.optional)?;
    }
    if let Some(source) = &volume.downward_api {
        files.mode = source.default_mode;
        files.fields(&source.items)?;
    }
    if let Some(projected) = &volume.projected {
        files.mode = projected.default_mode;
        for source in &projected.sources {
            if let Some(keys) = &source.config_map {
                files.config_map(&keys.name, &keys.items, keys.optional)?;
            }
            if let Some(keys) = &source.secret {
                files.secret(&keys.name, &keys.items, keys.optional)?;
            }
            if let Some(fields) = &source.downward_api {
                files.fields(&fields.items)?;
            }
        }
    }
    Ok(files.set)
}

struct Files<'a> {
    pod: &'a Pod,
    sources: &'a Sources,
    mode: u32,
    set: FileSet,
}

impl Files<'_> {
    fn add(&mut self, path: &str, contents: ByteString, mode: Option<u32>) -> Result<(), ConfigError> {
        check_relative(path).map_err(|e| ConfigError(e.to_string()))?;
        // The names that an atomic update works with.
        if path.starts_with("..") {
            return Err(ConfigError(format!("{path}: a file of a volume must not begin with `..`")));
        }
        let mode = mode.unwrap_or(self.mode) & 0o777;
        self.set.0.insert(path.to_owned(), VolumeFile { contents, mode });
        Ok(())
    }

    fn config_map(&mut self, name: &str, items: &[KeyToPath], optional: bool) -> Result<(), ConfigError> {
        let Some(map) = self.sources.config_maps.get(name).cloned() else {
            return if optional { Ok(()) } else { Err(missing("config map", name)) };
        };
        let all = |map: &ConfigMap| {
            let text = map.data.iter().map(|(k, v)| (k.clone(), ByteString::from(v.as_bytes())));
            text.chain(map.binary_data.clone()).collect::<BTreeMap<_, _>>()
        };
        self.keys("config map", name, &all(&map), items, optional)
    }

    fn secret(&mut self, name: &str, items: &[KeyToPath], optional: bool) -> Result<(), ConfigError> {
        let Some(secret) = self.sources.secrets.get(name).cloned() else {
            return if optional { Ok(()) } else { Err(missing("secret", name)) };
        };
        let secret: &Secret = &secret;
        self.keys("secret", name, &secret.data, items, optional)
    }

    fn keys(
        &mut self,
        kind: &str,
        name: &str,
        data: &BTreeMap<String, ByteString>,
        items: &[KeyToPath],
        optional: bool,
    ) -> Result<(), ConfigError> {
        if items.is_empty() {
            return data.iter().try_for_each(|(key, value)| self.add(key, value.clone(), None));
        }
        for item in items {
            match data.get(&item.key) {
                Some(value) => self.add(&item.path, value.clone(), item.mode)?,
                None if optional => {}
                None => return Err(ConfigError(format!("{kind} {name} has no key {}", item.key))),
            }
        }
        Ok(())
    }

    fn fields(&mut self, items: &[DownwardApiFile]) -> Result<(), ConfigError> {
        let node: Option<&Node> = self.sources.node.as_deref();
        for item in items {
            let value = if let Some(field) = &item.field_ref {
                field_value(self.pod, &field.field_path, node)?
            } else if let Some(resource) = &item.resource_field_ref {
                resource_value(self.pod, None, resource, node)?
            } else {
                return Err(ConfigError(format!("{} names no field", item.path)));
            };
            self.add(&item.path, ByteString::from(value), item.mode)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::ObjectFieldSelector;

    fn sources() -> Sources {
        let mut sources = Sources::default();
        let map = ConfigMap::new("settings").entry("a.conf", "one").entry("b.conf", "two");
        sources.config_maps.insert("settings".to_owned(), Arc::new(map));
        let secret = Secret::new("keys").entry("token", "s3cret");
        sources.secrets.insert("keys".to_owned(), Arc::new(secret));
        sources
    }

    fn listed(set: &FileSet) -> Vec<(String, String, u32)> {
        set.0
            .iter()
            .map(|(path, f)| (path.clone(), f.contents.as_text().unwrap().to_owned(), f.mode))
            .collect()
    }

    #[test]
    fn all_keys_or_the_chosen_ones() {
        let pod = Pod::new("web").label("app", "web");
        let all = file_set(&pod, &Volume::config_map("v", "settings"), &sources()).unwrap();
        assert_eq!(listed(&all).len(), 2);
        let mut volume = Volume::config_map("v", "settings");
        let item = |key: &str, path: &str, mode| KeyToPath {
            key: key.into(),
            path: path.into(),
            mode,
            ..Default::default()
        };
        volume.config_map.as_mut().unwrap().items = vec![item("a.conf", "etc/x.conf", Some(0o600))];
        let some = file_set(&pod, &volume, &sources()).unwrap();
        assert_eq!(listed(&some), [("etc/x.conf".into(), "one".into(), 0o600)]);
        for (key, path) in [("nope", "x"), ("a.conf", "../x"), ("a.conf", "/etc/x"), ("a.conf", "..data")] {
            volume.config_map.as_mut().unwrap().items = vec![item(key, path, None)];
            assert!(file_set(&pod, &volume, &sources()).is_err(), "{key} {path}");
        }
    }

    #[test]
    fn missing_objects_and_fields() {
        let pod = Pod::new("web").label("app", "web");
        let error = file_set(&pod, &Volume::secret("v", "none"), &sources()).unwrap_err();
        assert!(error.to_string().contains("secret none does not exist"), "{error}");
        let mut optional = Volume::secret("v", "none");
        optional.secret.as_mut().unwrap().optional = true;
        assert!(file_set(&pod, &optional, &sources()).unwrap().0.is_empty());
        let field = ObjectFieldSelector { field_path: "metadata.labels['app']".into(), ..Default::default() };
        let file = DownwardApiFile { path: "app".into(), field_ref: Some(field), ..Default::default() };
        let source = crate::model::DownwardApiVolume { items: vec![file], ..Default::default() };
        let volume = Volume { name: "v".into(), downward_api: Some(source), ..Volume::default() };
        assert_eq!(listed(&file_set(&pod, &volume, &sources()).unwrap())[0].1, "web");
    }

    #[test]
    fn debug_shows_no_contents() {
        let set = file_set(&Pod::new("web"), &Volume::secret("v", "keys"), &sources()).unwrap();
        assert!(!format!("{set:?}").contains("s3cret"));
    }
}
