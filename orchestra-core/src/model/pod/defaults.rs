//! What a pod's spec leaves out, filled in as Kubernetes does.
//!
//! What has a fixed default (`periodSeconds`, `restartPolicy`) is filled in when a manifest is read. Here is what
//! depends on other fields.

use std::sync::Arc;

use super::{
    Container, DEFAULT_SCHEDULER_NAME, EmptyDirVolume, HttpGetAction, ImagePullPolicy, PodSpec, Volume,
};

/// Fills in what a shared `spec` left out. It is copied only where something was, so that admitted specs stay shared.
pub(crate) fn default_pod_spec(spec: &mut Arc<PodSpec>) {
    if !is_complete(spec) {
        fill_in(Arc::make_mut(spec));
    }
}

/// Fills in what `spec` left out.
fn fill_in(spec: &mut PodSpec) {
    if spec.scheduler_name.is_empty() {
        DEFAULT_SCHEDULER_NAME.clone_into(&mut spec.scheduler_name);
    }
    if spec.dns_policy.is_empty() {
        "ClusterFirst".clone_into(&mut spec.dns_policy);
    }
    for container in spec.init_containers.iter_mut().chain(&mut spec.containers) {
        default_container(container, spec.host_network);
    }
    default_pod_requests(spec);
    for volume in spec.volumes.iter_mut().filter(|v| !has_source(v)) {
        volume.empty_dir = Some(EmptyDirVolume::default());
    }
}

/// Whether [`fill_in`] would change nothing.
fn is_complete(spec: &PodSpec) -> bool {
    !spec.scheduler_name.is_empty()
        && !spec.dns_policy.is_empty()
        && spec
            .init_containers
            .iter()
            .chain(&spec.containers)
            .all(|c| is_complete_container(c, spec.host_network))
        && spec.volumes.iter().all(has_source)
        && spec.resources.limits.keys().all(|name| spec.resources.requests.contains_key(name))
}

/// Where a pod has a limit and no request, what its containers request together is its request, or else its limit.
fn default_pod_requests(spec: &mut PodSpec) {
    if spec.resources.limits.is_empty() {
        return;
    }
    let of_containers = spec.requests_of_containers();
    let PodSpec { resources, .. } = spec;
    for (name, limit) in &resources.limits {
        let request = *of_containers.get(name).unwrap_or(limit);
        resources.requests.entry(name.clone()).or_insert(request);
    }
}

fn default_container(container: &mut Container, host_network: bool) {
    if container.image_pull_policy.is_none() {
        container.image_pull_policy = Some(pull_policy_of(&container.image));
    }
    for (name, limit) in &container.resources.limits {
        if !container.resources.requests.contains_key(name) {
            container.resources.requests.insert(name.clone(), *limit);
        }
    }
    for port in container.ports.iter_mut().filter(|p| host_network && p.host_port == 0) {
        port.host_port = port.container_port;
    }
    let requests =
        [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe]
            .into_iter()
            .flatten()
            .filter_map(|probe| probe.http_get.as_mut());
    let hooks = container.lifecycle.iter_mut().flat_map(|l| [&mut l.post_start, &mut l.pre_stop]);
    let hook_requests = hooks.flatten().filter_map(|hook| hook.http_get.as_mut());
    for request in requests.chain(hook_requests).filter(|r| r.path.is_empty()) {
        request.path.push('/');
    }
}

fn is_complete_container(container: &Container, host_network: bool) -> bool {
    let resources = &container.resources;
    container.image_pull_policy.is_some()
        && resources.limits.keys().all(|name| resources.requests.contains_key(name))
        && !(host_network && container.ports.iter().any(|p| p.host_port == 0 && p.container_port != 0))
        && http_requests(container).all(|request| !request.path.is_empty())
}

fn http_requests(container: &Container) -> impl Iterator<Item = &HttpGetAction> {
    let probes = [&container.liveness_probe, &container.readiness_probe, &container.startup_probe];
    let hooks = container.lifecycle.iter().flat_map(|l| [&l.post_start, &l.pre_stop]);
    let of_probes = probes.into_iter().flatten().filter_map(|probe| probe.http_get.as_ref());
    of_probes.chain(hooks.flatten().filter_map(|hook| hook.http_get.as_ref()))
}

/// Whether the volume says where it comes from, be it a source that isn't modelled.
fn has_source(volume: &Volume) -> bool {
    super::volume_rules::sources(volume) > 0
}

/// `Always` for an image without tag or with the tag `latest`, as its name says that it changes.
fn pull_policy_of(image: &str) -> ImagePullPolicy {
    if image.contains('@') {
        return ImagePullPolicy::IfNotPresent;
    }
    // A colon before a slash belongs to the registry's port.
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        None | Some((_, "latest")) => ImagePullPolicy::Always,
        Some(_) => ImagePullPolicy::IfNotPresent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pod::{LifecycleHandler, Probe};

    #[test]
    fn pull_policies_follow_the_tag() {
        for (image, policy) in [
            ("web", ImagePullPolicy::Always),
            ("web:latest", ImagePullPolicy::Always),
            ("localhost:5000/web", ImagePullPolicy::Always),
            ("localhost:5000/web:1", ImagePullPolicy::IfNotPresent),
            ("web@sha256:0123", ImagePullPolicy::IfNotPresent),
            ("a/b:v1", ImagePullPolicy::IfNotPresent),
        ] {
            assert_eq!(pull_policy_of(image), policy, "{image}");
        }
    }

    #[test]
    fn every_gap_is_seen_and_filled_once() {
        let full = || {
            let mut spec =
                PodSpec::new(Container::new("main", "web:1").port(80).request("cpu", "1").limit("cpu", "1"));
            fill_in(&mut spec);
            spec
        };
        assert!(is_complete(&full()));
        type Gap = (&'static str, fn(&mut PodSpec));
        let gaps: [Gap; 9] = [
            ("scheduler", |s| s.scheduler_name.clear()),
            ("dns", |s| s.dns_policy.clear()),
            ("pull policy", |s| s.containers[0].image_pull_policy = None),
            ("request", |s| s.containers[0].resources.requests.clear()),
            ("host port", |s| s.host_network = true),
            ("probe path", |s| s.containers[0].readiness_probe = Some(Probe::http("", 80))),
            ("hook path", |s| {
                s.containers[0] = s.containers[0].clone().pre_stop(LifecycleHandler::http("", 80));
            }),
            ("volume", |s| s.volumes.push(Volume { name: "v".into(), ..Volume::default() })),
            ("init container", |s| s.init_containers.push(Container::new("init", "x"))),
        ];
        for (what, make) in gaps {
            let mut spec = full();
            make(&mut spec);
            assert!(!is_complete(&spec), "{what} is not seen as missing");
            fill_in(&mut spec);
            assert!(is_complete(&spec), "{what} is not filled in");
            let again = spec.clone();
            fill_in(&mut spec);
            assert_eq!(spec, again, "{what} is filled in twice");
        }
    }

    #[test]
    fn a_complete_spec_stays_shared() {
        let mut spec = Arc::new(PodSpec::new(Container::new("main", "web:1")));
        default_pod_spec(&mut spec);
        let mut other = Arc::clone(&spec);
        default_pod_spec(&mut other);
        assert!(Arc::ptr_eq(&spec, &other));
    }
}
