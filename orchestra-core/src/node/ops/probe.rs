//! Putting a probe's question to a container.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::{Job, exec};
use crate::model::{Container, HttpGetAction, PortRef, Probe};
use crate::node::agent::Shared;
use crate::node::error::chain;
use crate::node::probe::{ProbeFailure, ProbeKind, ProbeOutcome, ProbeRequest};
use crate::runtime::{ContainerId, SandboxStatus};

pub(super) async fn check(
    shared: &Arc<Shared>,
    job: &Job,
    name: &str,
    attempt: u32,
    kind: ProbeKind,
) -> ProbeOutcome {
    let unknown = |why: &str| ProbeOutcome::Unknown(why.to_owned());
    let (Some(pod), Some(sandbox)) = (&job.pod, &job.sandbox) else { return unknown("the pod is gone") };
    let container = pod.spec.container(name);
    let Some((container, probe)) = container.and_then(|c| Some((c, kind.of(c)?))) else {
        return unknown("there is no such probe");
    };
    let run = sandbox.containers.iter().find(|c| *c.name == *name && c.attempt == attempt);
    let Some(run) = run else { return unknown("the container is gone") };
    let limit = Duration::from_secs(probe.timeout_seconds.max(1).into());
    let asked = tokio::time::timeout(limit, ask(shared, sandbox, container, &run.id, probe));
    asked
        .await
        .unwrap_or_else(|_elapsed| ProbeOutcome::Failure(format!("no answer within {} s", limit.as_secs())))
}

async fn ask(
    shared: &Arc<Shared>,
    sandbox: &SandboxStatus,
    container: &Container,
    id: &ContainerId,
    probe: &Probe,
) -> ProbeOutcome {
    if let Some(exec) = &probe.exec {
        return match exec::exit_code(shared, id, &exec.command).await {
            Ok(0) => ProbeOutcome::Success,
            Ok(code) => ProbeOutcome::Failure(format!("its command exited with code {code}")),
            Err(why) => ProbeOutcome::Unknown(why),
        };
    }
    let request = if let Some(get) = &probe.http_get {
        http_request(shared, sandbox, container, get).await
    } else if let Some(tcp) = &probe.tcp_socket {
        tcp_request(shared, sandbox, container, &tcp.host, &tcp.port).await
    } else if let Some(grpc) = &probe.grpc {
        let address = address(shared, sandbox, container, "", &PortRef::Number(grpc.port)).await;
        address.map(|address| ProbeRequest::Grpc { address, service: grpc.service.clone() })
    } else {
        Err("the probe asks nothing: give it exec, httpGet or tcpSocket".to_owned())
    };
    match request {
        Ok(request) => match shared.prober.probe(&request).await {
            Ok(()) => ProbeOutcome::Success,
            Err(ProbeFailure::Failed(why)) => ProbeOutcome::Failure(why),
            Err(ProbeFailure::Unsupported(why)) => ProbeOutcome::Unknown(why),
        },
        Err(why) => ProbeOutcome::Unknown(why),
    }
}

pub(super) async fn tcp_request(
    shared: &Arc<Shared>,
    sandbox: &SandboxStatus,
    container: &Container,
    host: &str,
    port: &PortRef,
) -> Result<ProbeRequest, String> {
    Ok(ProbeRequest::Tcp { address: address(shared, sandbox, container, host, port).await? })
}

pub(super) async fn http_request(
    shared: &Arc<Shared>,
    sandbox: &SandboxStatus,
    container: &Container,
    get: &HttpGetAction,
) -> Result<ProbeRequest, String> {
    let address = address(shared, sandbox, container, &get.host, &get.port).await?;
    let path = if get.path.starts_with('/') { get.path.clone() } else { format!("/{}", get.path) };
    let mut headers: Vec<(String, String)> =
        get.http_headers.iter().map(|h| (h.name.clone(), h.value.clone())).collect();
    let has =
        |headers: &[(String, String)], name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    for (name, value) in [
        ("Host", address.to_string()),
        ("User-Agent", "orchestra-probe".to_owned()),
        ("Accept", "*/*".to_owned()),
    ] {
        if !has(&headers, name) {
            headers.push((name.to_owned(), value));
        }
    }
    Ok(ProbeRequest::Http { address, scheme: get.scheme, path, headers })
}

/// Where the question goes: to the pod, unless the probe names another host by its address.
async fn address(
    shared: &Arc<Shared>,
    sandbox: &SandboxStatus,
    container: &Container,
    host: &str,
    port: &PortRef,
) -> Result<SocketAddr, String> {
    let number = match port {
        PortRef::Number(number) => *number,
        PortRef::Name(name) => container
            .port_named(name)
            .ok_or_else(|| format!("container {} has no port called {name}", container.name))?,
    };
    if host.is_empty() {
        return shared.runtime.address(&sandbox.id, number).await.map_err(|error| chain(&error));
    }
    let local = (host == "localhost").then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let host = local.or_else(|| host.parse().ok());
    host.map(|host| SocketAddr::new(host, number))
        .ok_or_else(|| "the probe's host must be an IP address; leave it out to ask the pod".to_owned())
}
