//! Which kinds of volumes a node has. Pure.

use super::is_written;
use crate::model::{PersistentVolume, Pod, Volume};
use crate::node::env::{ConfigError, Sources};

/// Checks that the node serves all volumes of a pod, those that no container mounts too: who wrote them down waits
/// for what is in them, or relies on nobody else having it.
pub(crate) fn check_served(pod: &Pod, sources: &Sources) -> Result<(), ConfigError> {
    for volume in &pod.spec.volumes {
        if !is_served(volume) {
            return Err(not_served(volume));
        }
        if let Some(claim) = &volume.persistent_volume_claim {
            claimed(volume, &claim.claim_name, sources)?;
        }
    }
    Ok(())
}

/// The volume that is behind a claim.
pub(super) fn claimed<'s>(
    volume: &Volume,
    claim: &str,
    sources: &'s Sources,
) -> Result<&'s PersistentVolume, ConfigError> {
    let why = match sources.claimed.get(claim) {
        Some(Ok(found)) => return Ok(found),
        Some(Err(why)) => why.clone(),
        None => format!("persistentvolumeclaim {claim} does not exist"),
    };
    Err(ConfigError(format!("volume {}: {why}", volume.name)))
}

fn is_served(volume: &Volume) -> bool {
    let modelled = volume.empty_dir.is_some()
        || volume.host_path.is_some()
        || volume.persistent_volume_claim.is_some()
        || is_written(volume);
    modelled && unknown_part(volume).is_none()
}

/// The kind of a projected source that isn't served.
fn unknown_part(volume: &Volume) -> Option<&str> {
    let sources = volume.projected.iter().flat_map(|projected| &projected.sources);
    sources.filter_map(|source| source.extra.0.keys().next()).map(String::as_str).next()
}

/// What to tell of a volume that the node doesn't serve.
pub(super) fn not_served(volume: &Volume) -> ConfigError {
    let name = &volume.name;
    if let Some(part) = unknown_part(volume) {
        let instead = "use configMap, secret or downwardAPI";
        return ConfigError(format!(
            "volume {name}: a projected source `{part}` is not supported; {instead}"
        ));
    }
    let kind = volume.extra.0.keys().next().map_or("none", String::as_str);
    ConfigError(format!(
        "volume {name} has a source that this node does not serve, `{kind}`; \
         use emptyDir, hostPath, configMap, secret, downwardAPI, projected or persistentVolumeClaim"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PodSpec, Volume};

    fn checked(volume: &str) -> String {
        let volume: Volume = serde_json::from_str(volume).unwrap();
        let pod = Pod::new("web").spec(PodSpec::default().volume(Volume::empty_dir("first")).volume(volume));
        check_served(&pod, &Sources::default()).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn names_the_volume_and_its_kind() {
        for served in [
            r#"{"name": "v", "emptyDir": {}}"#,
            r#"{"name": "v", "hostPath": {"path": "/srv"}}"#,
            r#"{"name": "v", "secret": {"secretName": "keys"}}"#,
            r#"{"name": "v", "projected": {"sources": [{"configMap": {"name": "settings"}}]}}"#,
        ] {
            assert_eq!(checked(served), "", "{served}");
        }
        for (refused, kind) in [
            (r#"{"name": "v", "nfs": {"server": "s", "path": "/"}}"#, "nfs"),
            (
                r#"{"name": "v", "projected": {"sources": [{"serviceAccountToken": {}}]}}"#,
                "serviceAccountToken",
            ),
        ] {
            let error = checked(refused);
            assert!(error.contains("volume v") && error.contains(kind) && error.contains("use "), "{error}");
        }
    }

    #[test]
    fn claims_are_waited_for() {
        let claimed = r#"{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}"#;
        assert_eq!(checked(claimed), "volume v: persistentvolumeclaim c does not exist");
    }
}
