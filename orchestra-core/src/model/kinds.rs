//! What kubectl and Kubernetes call their kinds.

use super::KindInfo;

/// kubectl's short names of the kinds that Orchestra models.
pub(super) const MODELLED_SHORT_NAMES: &[(&str, &str)] = &[
    ("Pod", "po"),
    ("Service", "svc"),
    ("Deployment", "deploy"),
    ("ReplicaSet", "rs"),
    ("ConfigMap", "cm"),
    ("Namespace", "ns"),
    ("Node", "no"),
    ("HorizontalPodAutoscaler", "hpa"),
    ("PodDisruptionBudget", "pdb"),
    ("PriorityClass", "pc"),
    ("PersistentVolumeClaim", "pvc"),
    ("PersistentVolume", "pv"),
    ("StorageClass", "sc"),
    ("Event", "ev"),
    ("Ingress", "ing"),
];

const fn namespaced(group: &'static str, kind: &'static str, plural: &'static str) -> KindInfo {
    KindInfo::new(group, "v1", kind, plural, true)
}

const fn cluster(group: &'static str, kind: &'static str, plural: &'static str) -> KindInfo {
    KindInfo::new(group, "v1", kind, plural, false)
}

/// Kubernetes' own kinds that Orchestra keeps but doesn't act on, with kubectl's short names: known, so that
/// their objects get the right scope without one being guessed.
pub(super) const UNMODELLED: &[(KindInfo, &[&str])] = &[
    (namespaced("apps", "StatefulSet", "statefulsets"), &["sts"]),
    (namespaced("apps", "DaemonSet", "daemonsets"), &["ds"]),
    (namespaced("apps", "ControllerRevision", "controllerrevisions"), &[]),
    (namespaced("batch", "Job", "jobs"), &[]),
    (namespaced("batch", "CronJob", "cronjobs"), &["cj"]),
    (namespaced("", "ReplicationController", "replicationcontrollers"), &["rc"]),
    (namespaced("", "Endpoints", "endpoints"), &["ep"]),
    (namespaced("", "ServiceAccount", "serviceaccounts"), &["sa"]),
    (namespaced("", "LimitRange", "limitranges"), &["limits"]),
    (namespaced("", "ResourceQuota", "resourcequotas"), &["quota"]),
    (namespaced("", "PodTemplate", "podtemplates"), &[]),
    (namespaced("networking.k8s.io", "NetworkPolicy", "networkpolicies"), &["netpol"]),
    (cluster("networking.k8s.io", "IngressClass", "ingressclasses"), &[]),
    (cluster("storage.k8s.io", "CSIDriver", "csidrivers"), &[]),
    (cluster("storage.k8s.io", "VolumeAttachment", "volumeattachments"), &[]),
    (namespaced("rbac.authorization.k8s.io", "Role", "roles"), &[]),
    (namespaced("rbac.authorization.k8s.io", "RoleBinding", "rolebindings"), &[]),
    (cluster("rbac.authorization.k8s.io", "ClusterRole", "clusterroles"), &[]),
    (cluster("rbac.authorization.k8s.io", "ClusterRoleBinding", "clusterrolebindings"), &[]),
    (
        cluster("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions"),
        &["crd", "crds"],
    ),
    (cluster("apiregistration.k8s.io", "APIService", "apiservices"), &[]),
    (
        cluster(
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration",
            "mutatingwebhookconfigurations",
        ),
        &[],
    ),
    (
        cluster(
            "admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
        ),
        &[],
    ),
    (cluster("node.k8s.io", "RuntimeClass", "runtimeclasses"), &[]),
    (cluster("certificates.k8s.io", "CertificateSigningRequest", "certificatesigningrequests"), &["csr"]),
];

/// The plural that Kubernetes' tools make of a kind that names none.
pub(super) fn guess_plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    match kind.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ if ["s", "x", "z", "ch", "sh"].iter().any(|end| kind.ends_with(end)) => format!("{kind}es"),
        _ => format!("{kind}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_are_guessed_as_kubernetes_has_them() {
        for (info, _) in UNMODELLED.iter().filter(|(info, _)| info.kind != "Endpoints") {
            assert_eq!(guess_plural(&info.kind), info.plural, "{}", info.kind);
        }
        assert_eq!(guess_plural("Gateway"), "gateways");
    }
}
