//! What a pod's volumes must be.

use std::collections::BTreeSet;

use super::{DownwardApiFile, KeyToPath, ProjectedVolume, Volume, VolumeProjection};
use crate::model::FieldErrors;
use crate::model::meta_rules::record;
use crate::model::names::{check_data_key, check_dns_label};

/// The most that a file's permissions can be.
const MAX_FILE_MODE: u32 = 0o777;

/// How many sources a volume has. Those that aren't modelled count as one together.
pub(super) fn sources(volume: &Volume) -> usize {
    let modelled = [
        volume.empty_dir.is_some(),
        volume.host_path.is_some(),
        volume.config_map.is_some(),
        volume.secret.is_some(),
        volume.downward_api.is_some(),
        volume.projected.is_some(),
        volume.persistent_volume_claim.is_some(),
    ];
    modelled.into_iter().filter(|is_there| *is_there).count() + usize::from(!volume.extra.0.is_empty())
}

/// Checks the volumes of a pod, at the path of its spec.
pub(super) fn validate_volumes(volumes: &[Volume], errors: &mut FieldErrors) {
    let mut names = BTreeSet::new();
    errors.each("volumes", volumes, |errors, volume| {
        errors.at("name", |errors| {
            record(check_dns_label(&volume.name), errors);
            errors.require(names.insert(volume.name.clone()), "is the name of another volume too");
        });
        errors.require(sources(volume) == 1, "must have exactly one source, such as emptyDir or configMap");
        validate_source(volume, errors);
    });
}

fn validate_source(volume: &Volume, errors: &mut FieldErrors) {
    if let Some(source) = &volume.empty_dir {
        errors.at("emptyDir", |errors| {
            let fits =
                matches!(source.medium.as_str(), "" | "Memory") || source.medium.starts_with("HugePages");
            errors.at("medium", |errors| errors.require(fits, "must be empty or Memory"));
            let negative = source.size_limit.is_some_and(|limit| limit.is_negative());
            errors.at("sizeLimit", |errors| errors.require(!negative, "must not be negative"));
        });
    }
    if let Some(source) = &volume.host_path {
        errors.at("hostPath", |errors| {
            errors.at("path", |errors| {
                errors.require(!source.path.is_empty(), "is required");
                errors.require(source.path.split('/').all(|part| part != ".."), "must not contain `..`");
            });
        });
    }
    if let Some(source) = &volume.config_map {
        errors.at("configMap", |errors| {
            errors.at("name", |errors| errors.require(!source.name.is_empty(), "is required"));
            validate_items(&source.items, errors);
            validate_mode("defaultMode", source.default_mode, errors);
        });
    }
    if let Some(source) = &volume.secret {
        errors.at("secret", |errors| {
            errors.at("secretName", |errors| errors.require(!source.secret_name.is_empty(), "is required"));
            validate_items(&source.items, errors);
            validate_mode("defaultMode", source.default_mode, errors);
        });
    }
    if let Some(source) = &volume.downward_api {
        errors.at("downwardAPI", |errors| {
            validate_files(&source.items, errors);
            validate_mode("defaultMode", source.default_mode, errors);
        });
    }
    if let Some(source) = &volume.projected {
        errors.at("projected", |errors| validate_projected(source, errors));
    }
    if let Some(source) = &volume.persistent_volume_claim {
        errors.at("persistentVolumeClaim", |errors| {
            errors.at("claimName", |errors| errors.require(!source.claim_name.is_empty(), "is required"));
        });
    }
}

fn validate_projected(projected: &ProjectedVolume, errors: &mut FieldErrors) {
    errors.each("sources", &projected.sources, |errors, source| {
        let VolumeProjection { config_map, secret, downward_api, extra } = source;
        let modelled = [config_map.is_some(), secret.is_some(), downward_api.is_some()];
        let count =
            modelled.into_iter().filter(|is_there| *is_there).count() + usize::from(!extra.0.is_empty());
        errors.require(count == 1, "must have exactly one source, such as configMap or secret");
        for (field, keys) in [("configMap", config_map), ("secret", secret)] {
            let Some(keys) = keys else { continue };
            errors.at(field, |errors| {
                errors.at("name", |errors| errors.require(!keys.name.is_empty(), "is required"));
                validate_items(&keys.items, errors);
            });
        }
        if let Some(fields) = downward_api {
            errors.at("downwardAPI", |errors| validate_files(&fields.items, errors));
        }
    });
    validate_mode("defaultMode", projected.default_mode, errors);
}

fn validate_items(items: &[KeyToPath], errors: &mut FieldErrors) {
    errors.each("items", items, |errors, item| {
        errors.at("key", |errors| record(check_data_key(&item.key), errors));
        errors.at("path", |errors| record(check_relative_path(&item.path), errors));
        if let Some(mode) = item.mode {
            validate_mode("mode", mode, errors);
        }
    });
}

fn validate_files(files: &[DownwardApiFile], errors: &mut FieldErrors) {
    errors.each("items", files, |errors, file| {
        errors.at("path", |errors| record(check_relative_path(&file.path), errors));
        let one = file.field_ref.is_some() != file.resource_field_ref.is_some();
        errors.require(one, "must have either fieldRef or resourceFieldRef");
        if let Some(field) = &file.field_ref {
            errors.at("fieldRef", |errors| super::env_rules::validate_field(field, errors));
        }
        if let Some(resource) = &file.resource_field_ref {
            errors.at("resourceFieldRef", |errors| {
                let named = !resource.container_name.is_empty();
                errors.at("containerName", |errors| errors.require(named, "is required in a volume"));
                super::env_rules::validate_resource(resource, errors);
            });
        }
        if let Some(mode) = file.mode {
            validate_mode("mode", mode, errors);
        }
    });
}

fn validate_mode(field: &str, mode: u32, errors: &mut FieldErrors) {
    errors
        .at(field, |errors| errors.require(mode <= MAX_FILE_MODE, "must be from 0 to 0777 (511 in decimal)"));
}

/// Checks a path inside a volume: nothing may lead out of it.
pub(super) fn check_relative_path(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("is required".to_owned());
    }
    if path.starts_with('/') {
        return Err(format!("`{path}` must be relative"));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(format!("`{path}` must not contain `..`"));
    }
    Ok(())
}
