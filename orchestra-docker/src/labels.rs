//! Names and labels: how a container is found again.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use orchestra_core::model::{Labels, Uid};
use orchestra_core::runtime::{ContainerSpec, SandboxSpec};

/// All our labels begin so. Labels of pods that do are left out.
pub(crate) const PREFIX: &str = "dev.orchestra.";
pub(crate) const CLUSTER: &str = "dev.orchestra.cluster";
/// What a container is: one of the three below.
pub(crate) const ROLE: &str = "dev.orchestra.role";
/// The id of the sandbox: on the sandbox and on its containers.
pub(crate) const SANDBOX: &str = "dev.orchestra.sandbox";
const NAMESPACE: &str = "dev.orchestra.namespace";
const POD: &str = "dev.orchestra.pod";
pub(crate) const POD_UID: &str = "dev.orchestra.pod-uid";
const SANDBOX_ATTEMPT: &str = "dev.orchestra.sandbox-attempt";
pub(crate) const CONTAINER: &str = "dev.orchestra.container";
const ATTEMPT: &str = "dev.orchestra.attempt";
const IMAGE: &str = "dev.orchestra.image";

pub(crate) const ROLE_SANDBOX: &str = "sandbox";
pub(crate) const ROLE_CONTAINER: &str = "container";
/// A container that does one thing for the runtime, and goes.
pub(crate) const ROLE_HELPER: &str = "helper";

/// Whether these labels say that a container is for this.
pub(crate) fn has_role(labels: &HashMap<String, String>, role: &str) -> bool {
    labels.get(ROLE).is_some_and(|of| of == role)
}

/// Makes a part of a name: only what Docker takes, no dot, and different for different texts.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "_{byte:02x}").expect("a string takes all");
        }
    }
    escaped
}

/// What the names of all containers of a cluster begin with.
pub(crate) fn cluster_prefix(cluster: &str) -> String {
    format!("orchestra.{}.", escape(cluster))
}

/// The id of a sandbox, which is its container's name.
pub(crate) fn sandbox_name(cluster: &str, spec: &SandboxSpec) -> String {
    format!("{}{}.{}", cluster_prefix(cluster), escape(&spec.pod_uid.to_string()), spec.attempt)
}

/// The id of a container, which is its name.
pub(crate) fn container_name(sandbox: &str, spec: &ContainerSpec) -> String {
    format!("{sandbox}.{}.{}", escape(&spec.name), spec.attempt)
}

/// The id of the sandbox that a container of this id is in; `None` where it is the id of none.
pub(crate) fn sandbox_of(container: &str) -> Option<&str> {
    container.rsplitn(3, '.').nth(2)
}

/// The name of a volume in memory: that of the pod, whichever its sandbox.
pub(crate) fn volume_name(cluster: &str, pod_uid: &str, volume: &str) -> String {
    format!("{}{}.{}", cluster_prefix(cluster), escape(pod_uid), escape(volume))
}

/// The labels of a volume.
pub(crate) fn of_volume(cluster: &str, pod_uid: &str) -> HashMap<String, String> {
    owned([(CLUSTER, cluster.to_owned()), (POD_UID, pod_uid.to_owned())])
}

fn owned<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> HashMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The pod's labels, without those that would look like ours.
fn foreign(labels: &Labels) -> HashMap<String, String> {
    let pairs = labels.iter().map(|(key, value)| (key.to_string(), value.to_string()));
    pairs.filter(|(key, _)| !key.starts_with(PREFIX)).collect()
}

/// The labels of a sandbox.
pub(crate) fn of_sandbox(cluster: &str, name: &str, spec: &SandboxSpec) -> HashMap<String, String> {
    let mut labels = foreign(&spec.labels);
    labels.extend(owned([
        (CLUSTER, cluster.to_owned()),
        (ROLE, ROLE_SANDBOX.to_owned()),
        (SANDBOX, name.to_owned()),
        (NAMESPACE, spec.namespace.to_string()),
        (POD, spec.pod_name.to_string()),
        (POD_UID, spec.pod_uid.to_string()),
        (SANDBOX_ATTEMPT, spec.attempt.to_string()),
    ]));
    labels
}

/// The labels of a container: it repeats those of its sandbox, so that it can be told whose it is when that is gone.
pub(crate) fn of_container(
    sandbox: &HashMap<String, String>,
    spec: &ContainerSpec,
) -> HashMap<String, String> {
    let mut labels = foreign(&spec.labels);
    let pods = [CLUSTER, SANDBOX, NAMESPACE, POD, POD_UID, SANDBOX_ATTEMPT];
    labels.extend(
        pods.iter().filter_map(|key| sandbox.get_key_value(*key)).map(|(k, v)| (k.clone(), v.clone())),
    );
    labels.extend(owned([
        (ROLE, ROLE_CONTAINER.to_owned()),
        (CONTAINER, spec.name.to_string()),
        (ATTEMPT, spec.attempt.to_string()),
        (IMAGE, spec.image.name.clone()),
    ]));
    labels
}

/// The labels of a helper.
pub(crate) fn of_helper(cluster: &str) -> HashMap<String, String> {
    owned([(CLUSTER, cluster.to_owned()), (ROLE, ROLE_HELPER.to_owned())])
}

/// Which pod a container belongs to, read from its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodRef {
    pub(crate) sandbox: Arc<str>,
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) uid: Uid,
    pub(crate) attempt: u32,
}

/// Reads whose a container is; `None` where a label lacks or is not understood.
pub(crate) fn pod(labels: &HashMap<String, String>) -> Option<PodRef> {
    Some(PodRef {
        sandbox: labels.get(SANDBOX)?.as_str().into(),
        namespace: labels.get(NAMESPACE)?.as_str().into(),
        name: labels.get(POD)?.as_str().into(),
        uid: Uid::from(labels.get(POD_UID)?.clone()),
        attempt: labels.get(SANDBOX_ATTEMPT)?.parse().ok()?,
    })
}

/// Which run of which container this is: name, attempt and image.
pub(crate) fn run(labels: &HashMap<String, String>) -> Option<(Arc<str>, u32, String)> {
    let (name, attempt) = (labels.get(CONTAINER)?.as_str().into(), labels.get(ATTEMPT)?.parse().ok()?);
    Some((name, attempt, labels.get(IMAGE)?.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hostile_texts_are_taken_by_docker_and_differ() {
        let texts = ["a.b", "a_2eb", "a/b", "..", "", "\u{fc}", "a b\n", "-x", "a=b,c"];
        let names: std::collections::BTreeSet<_> = texts.iter().map(|text| escape(text)).collect();
        assert_eq!(names.len(), texts.len());
        for name in &names {
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)), "{name}");
        }
        assert!(!cluster_prefix("a.b").starts_with(&cluster_prefix("a")));
    }

    #[test]
    fn labels_are_read_back_and_a_pod_can_not_forge_them() {
        let mut spec = SandboxSpec::new("shop", "web-1", Uid::from("uid-1"));
        spec.attempt = 2;
        spec.labels.insert("app".into(), "web".into());
        spec.labels.insert(CLUSTER.into(), "another".into());
        spec.labels.insert("dev.orchestra.role".into(), "helper".into());
        let name = sandbox_name("c", &spec);
        let sandbox = of_sandbox("c", &name, &spec);
        assert_eq!((sandbox["app"].as_str(), sandbox[CLUSTER].as_str()), ("web", "c"));
        assert_eq!(sandbox[ROLE], ROLE_SANDBOX);
        let mut container = ContainerSpec::new("main", "web:1");
        container.labels.insert(POD_UID.into(), "another".into());
        assert_eq!(sandbox_of(&container_name(&name, &container)), Some(name.as_str()));
        let container = of_container(&sandbox, &container);
        assert_eq!(pod(&container), pod(&sandbox));
        assert_eq!(pod(&container).map(|pod| (pod.uid, pod.attempt)), Some((Uid::from("uid-1"), 2)));
        assert_eq!(run(&container), Some(("main".into(), 0, "web:1".to_owned())));
        assert_eq!(run(&sandbox), None);
    }
}
