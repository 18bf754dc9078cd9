//! What probes and lifecycle hooks must be.

use super::rules::validate_seconds;
use super::{Container, ExecAction, HttpGetAction, LifecycleHandler, PortRef, Probe, TcpSocketAction};
use crate::model::FieldErrors;
use crate::model::meta_rules::record;
use crate::model::names::check_port_name;

/// Checks the probes and hooks of a container, at the container's path.
pub(super) fn validate_probes(container: &Container, errors: &mut FieldErrors) {
    let probes = [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ];
    for (field, probe) in probes {
        if let Some(probe) = probe {
            errors.at(field, |errors| validate_probe(probe, field == "readinessProbe", errors));
        }
    }
    let Some(lifecycle) = &container.lifecycle else { return };
    errors.at("lifecycle", |errors| {
        for (field, hook) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)] {
            if let Some(hook) = hook {
                errors.at(field, |errors| validate_hook(hook, errors));
            }
        }
    });
}

fn validate_probe(probe: &Probe, readiness: bool, errors: &mut FieldErrors) {
    let handlers =
        [probe.exec.is_some(), probe.http_get.is_some(), probe.tcp_socket.is_some(), probe.grpc.is_some()];
    let one = handlers.into_iter().filter(|is_there| *is_there).count() == 1;
    errors.require(one, "must have exactly one of exec, httpGet, tcpSocket and grpc");
    validate_actions(probe.exec.as_ref(), probe.http_get.as_ref(), probe.tcp_socket.as_ref(), errors);
    if let Some(grpc) = &probe.grpc {
        errors.at("grpc", |errors| validate_port(&PortRef::Number(grpc.port), errors));
    }
    for (field, value) in [
        ("periodSeconds", probe.period_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        errors.at(field, |errors| errors.require(value > 0, "must be at least 1"));
    }
    if !readiness {
        errors.at("successThreshold", |errors| {
            errors.require(probe.success_threshold <= 1, "must be 1 for liveness and startup probes");
        });
    }
    errors.at("terminationGracePeriodSeconds", |errors| match probe.termination_grace_period_seconds {
        Some(_) if readiness => errors.push("must not be set for readiness probes, which stop nothing"),
        Some(0) => errors.push("must be at least 1"),
        Some(seconds) => validate_seconds(seconds, errors),
        None => {}
    });
}

fn validate_hook(hook: &LifecycleHandler, errors: &mut FieldErrors) {
    let handlers =
        [hook.exec.is_some(), hook.http_get.is_some(), hook.tcp_socket.is_some(), hook.sleep.is_some()];
    let one = handlers.into_iter().filter(|is_there| *is_there).count() == 1;
    errors.require(one, "must have exactly one of exec, httpGet, tcpSocket and sleep");
    validate_actions(hook.exec.as_ref(), hook.http_get.as_ref(), hook.tcp_socket.as_ref(), errors);
}

fn validate_actions(
    exec: Option<&ExecAction>,
    http_get: Option<&HttpGetAction>,
    tcp_socket: Option<&TcpSocketAction>,
    errors: &mut FieldErrors,
) {
    if let Some(exec) = exec {
        errors.at("exec", |errors| {
            errors.at("command", |errors| errors.require(!exec.command.is_empty(), "is required"));
        });
    }
    if let Some(request) = http_get {
        errors.at("httpGet", |errors| {
            validate_port(&request.port, errors);
            errors.each("httpHeaders", &request.http_headers, |errors, header| {
                let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
                let fits = !header.name.is_empty() && header.name.bytes().all(is_token);
                errors.at("name", |errors| errors.require(fits, "is not the name of an HTTP header"));
            });
        });
    }
    if let Some(socket) = tcp_socket {
        errors.at("tcpSocket", |errors| validate_port(&socket.port, errors));
    }
}

fn validate_port(port: &PortRef, errors: &mut FieldErrors) {
    errors.at("port", |errors| match port {
        PortRef::Number(0) => errors.push("must be from 1 to 65535, or the name of a port"),
        PortRef::Number(_) => {}
        PortRef::Name(name) => record(check_port_name(name), errors),
    });
}
