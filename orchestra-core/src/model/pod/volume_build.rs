//! Building volumes in code.

use super::{
    ConfigMapVolume, EmptyDirVolume, HostPathVolume, PersistentVolumeClaimVolume, SecretVolume, Volume,
};

impl Volume {
    /// A fresh directory that lives as long as the pod.
    #[must_use]
    pub fn empty_dir(name: impl Into<String>) -> Self {
        Self { name: name.into(), empty_dir: Some(EmptyDirVolume::default()), ..Self::default() }
    }

    /// A path of the node.
    #[must_use]
    pub fn host_path(name: impl Into<String>, path: impl Into<String>) -> Self {
        let source = HostPathVolume { path: path.into(), ..HostPathVolume::default() };
        Self { name: name.into(), host_path: Some(source), ..Self::default() }
    }

    /// The keys of the ConfigMap `config_map` as files.
    #[must_use]
    pub fn config_map(name: impl Into<String>, config_map: impl Into<String>) -> Self {
        let source = ConfigMapVolume { name: config_map.into(), ..ConfigMapVolume::default() };
        Self { name: name.into(), config_map: Some(source), ..Self::default() }
    }

    /// The keys of the Secret `secret` as files.
    #[must_use]
    pub fn secret(name: impl Into<String>, secret: impl Into<String>) -> Self {
        let source = SecretVolume { secret_name: secret.into(), ..SecretVolume::default() };
        Self { name: name.into(), secret: Some(source), ..Self::default() }
    }

    /// Storage that outlives the pod.
    #[must_use]
    pub fn persistent(name: impl Into<String>, claim: impl Into<String>) -> Self {
        let source = PersistentVolumeClaimVolume { claim_name: claim.into(), ..Default::default() };
        Self { name: name.into(), persistent_volume_claim: Some(source), ..Self::default() }
    }
}
