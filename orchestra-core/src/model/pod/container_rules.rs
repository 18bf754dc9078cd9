//! What containers must be.

use std::collections::BTreeSet;

use super::env_rules::validate_env;
use super::probe_rules::validate_probes;
use super::volume_rules::check_relative_path;
use super::{Container, ContainerPort, PodSpec, ResourceRequirements};
use crate::model::meta_rules::record;
use crate::model::names::{check_dns_label, check_label_key, check_port_name};
use crate::model::{FieldErrors, ResourceList};

/// Checks the containers and init containers of `spec`, at its path.
pub(super) fn validate_containers(spec: &PodSpec, errors: &mut FieldErrors) {
    if let Some(profile) = &spec.security_context.seccomp_profile {
        errors.at("securityContext", |errors| {
            errors.at("seccompProfile", |errors| profile.validate(errors));
        });
    }
    let mut names = BTreeSet::new();
    errors.each("initContainers", &spec.init_containers, |errors, container| {
        validate_container(container, spec, &mut names, errors);
        if !container.is_sidecar() {
            validate_init(container, errors);
        }
    });
    errors.at("containers", |errors| {
        errors.require(!spec.containers.is_empty(), "needs at least one container");
    });
    errors.each("containers", &spec.containers, |errors, container| {
        validate_container(container, spec, &mut names, errors);
        errors.at("restartPolicy", |errors| {
            errors.require(container.restart_policy.is_none(), "can be set on init containers only");
        });
    });
    validate_host_ports(spec, errors);
    errors.at("resources", |errors| validate_pod_resources(spec, errors));
}

/// What a whole pod may ask for.
fn validate_pod_resources(spec: &PodSpec, errors: &mut FieldErrors) {
    validate_resources(&spec.resources, errors);
    let of_containers = spec.requests_of_containers();
    for (field, amounts) in [("requests", &spec.resources.requests), ("limits", &spec.resources.limits)] {
        errors.at(field, |errors| {
            for name in amounts.keys() {
                let known = ["cpu", "memory"].contains(&name.as_str()) || name.starts_with("hugepages-");
                errors.at(name, |errors| {
                    errors.require(known, "can't be asked for by a whole pod: ask for it in a container");
                });
            }
        });
    }
    // A limit is no less than its request, and has one.
    errors.at("requests", |errors| {
        for (name, amount) in &spec.resources.requests {
            if let Some(least) = of_containers.get(name).filter(|least| amount < least) {
                let why = format!("{amount} must not be less than its containers request, {least}");
                errors.at(name, |errors| errors.push(why));
            }
        }
    });
}

fn validate_init(container: &Container, errors: &mut FieldErrors) {
    errors.at("restartPolicy", |errors| {
        errors.require(container.restart_policy.is_none(), "must be Always or absent");
    });
    let only_sidecars = [
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
        ("lifecycle", container.lifecycle.is_some()),
    ];
    for (field, is_there) in only_sidecars {
        let message = "must not be set on an init container, except where its restartPolicy is Always";
        errors.at(field, |errors| errors.require(!is_there, message));
    }
}

fn validate_container(
    container: &Container,
    spec: &PodSpec,
    names: &mut BTreeSet<String>,
    errors: &mut FieldErrors,
) {
    errors.at("name", |errors| {
        record(check_dns_label(&container.name), errors);
        errors.require(names.insert(container.name.clone()), "is the name of another container too");
    });
    errors.at("image", |errors| {
        errors.require(!container.image.is_empty(), "is required");
        errors.require(container.image.trim() == container.image, "must not begin or end with white space");
    });
    let mut port_names = BTreeSet::new();
    errors.each("ports", &container.ports, |errors, port| {
        validate_port(port, spec.host_network, errors);
        if !port.name.is_empty() {
            errors.at("name", |errors| {
                record(check_port_name(&port.name), errors);
                errors.require(port_names.insert(port.name.clone()), "is the name of another port too");
            });
        }
    });
    validate_env(container, errors);
    errors.at("resources", |errors| validate_resources(&container.resources, errors));
    validate_mounts(container, spec, errors);
    validate_probes(container, errors);
    if let Some(context) = &container.security_context {
        let contradicts =
            context.privileged == Some(true) && context.allow_privilege_escalation == Some(false);
        errors.at("securityContext", |errors| {
            errors.at("allowPrivilegeEscalation", |errors| {
                errors.require(!contradicts, "can't be false for a privileged container");
            });
            if let Some(profile) = &context.seccomp_profile {
                errors.at("seccompProfile", |errors| profile.validate(errors));
            }
        });
    }
}

fn validate_port(port: &ContainerPort, host_network: bool, errors: &mut FieldErrors) {
    errors.at("containerPort", |errors| errors.require(port.container_port > 0, "must be from 1 to 65535"));
    errors.at("hostPort", |errors| {
        let fits = !host_network || port.host_port == 0 || port.host_port == port.container_port;
        errors.require(fits, "must be containerPort where the pod has the node's network");
    });
}

/// Two containers of a pod can't take the same port of the node.
fn validate_host_ports(spec: &PodSpec, errors: &mut FieldErrors) {
    let ports: Vec<_> = spec.host_ports().collect();
    for (i, port) in ports.iter().enumerate() {
        if ports[..i].iter().any(|before| before.conflicts_with(port)) {
            let message = format!("port {} ({}) of the node is taken twice", port.port, port.protocol);
            errors.at("containers", |errors| errors.push(message));
        }
    }
}

fn validate_resources(resources: &ResourceRequirements, errors: &mut FieldErrors) {
    validate_amounts("limits", &resources.limits, errors);
    validate_amounts("requests", &resources.requests, errors);
    for (name, request) in &resources.requests {
        let Some(limit) = resources.limits.get(name) else { continue };
        errors.at("requests", |errors| {
            errors.at(name, |errors| {
                if request > limit {
                    errors.push(format!("{request} must not be more than the limit, {limit}"));
                } else if name.contains('/') && request != limit {
                    errors.push(format!("{request} must be the limit, {limit}: devices can't be shared"));
                }
            });
        });
    }
}

/// Checks amounts of resources in the field `field`.
pub(crate) fn validate_amounts(field: &str, amounts: &ResourceList, errors: &mut FieldErrors) {
    errors.at(field, |errors| {
        for (name, amount) in amounts {
            errors.at(name, |errors| {
                record(check_label_key(name), errors);
                errors.require(!amount.is_negative(), "must not be negative");
                let whole = !name.contains('/') || amount.is_whole();
                errors.require(whole, "must be a whole number: devices can't be divided");
            });
        }
    });
}

fn validate_mounts(container: &Container, spec: &PodSpec, errors: &mut FieldErrors) {
    let mut paths = BTreeSet::new();
    errors.each("volumeMounts", &container.volume_mounts, |errors, mount| {
        errors.at("name", |errors| {
            if !spec.volumes.iter().any(|volume| volume.name == mount.name) {
                errors.push(format!("the pod has no volume `{}`", mount.name));
            }
        });
        errors.at("mountPath", |errors| {
            errors.require(!mount.mount_path.is_empty(), "is required");
            errors.require(!mount.mount_path.contains(':'), "must not contain `:`");
            errors.require(paths.insert(mount.mount_path.clone()), "is the path of another mount too");
        });
        let both = !mount.sub_path.is_empty() && !mount.sub_path_expr.is_empty();
        errors.at("subPathExpr", |errors| errors.require(!both, "can't be set together with subPath"));
        for (field, path) in [("subPath", &mount.sub_path), ("subPathExpr", &mount.sub_path_expr)] {
            if !path.is_empty() {
                errors.at(field, |errors| record(check_relative_path(path), errors));
            }
        }
    });
}
