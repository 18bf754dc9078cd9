//! The life of a sandbox.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use orchestra_core::runtime::{RuntimeError, SandboxSpec, SandboxStatus};

use crate::builder::is_name;
use crate::error::{failed, not_found, unsupported};
use crate::record::{Limits, PortRecord, Record, SandboxRecord};
use crate::state::{Core, Sandbox};
use crate::{container, host_port};

/// The identity of a sandbox: the pod's and the attempt. It is also the name of files.
fn id_of(spec: &SandboxSpec) -> Result<Arc<str>, RuntimeError> {
    let uid = spec.pod_uid.as_str();
    if !is_name(uid) {
        let why = format!("the pod uid `{uid}` is no name: up to 128 letters, digits, `-` and `.`");
        return Err(unsupported(&spec.pod_name, why));
    }
    Ok(format!("{uid}_{}", spec.attempt).into())
}

/// Creates the sandbox, or finds it.
pub(crate) fn run(core: &Arc<Core>, spec: &SandboxSpec) -> Result<SandboxStatus, RuntimeError> {
    let id = id_of(spec)?;
    // Held throughout: nothing here takes long, and a repeated call must find the first one's sandbox.
    let mut index = core.index();
    if let Some(sandbox) = index.sandboxes.get(&id).cloned() {
        drop(index);
        return Ok(core.status(&sandbox));
    }
    let ip = if spec.host_network {
        Ipv4Addr::LOCALHOST
    } else {
        core.addresses.allocate().map_err(|source| RuntimeError::Failed {
            subject: id.to_string(),
            operation: "find an address for its pod",
            transient: true,
            source: Box::new(source),
        })?
    };
    let record = Arc::new(record(core, spec, &id, ip));
    let sandbox = Arc::new(Sandbox::new(Arc::clone(&record), false, core.shutdown.child_token()));
    let created = host_port::bind(&record).and_then(|ports| {
        host_port::forward(&core.tasks, &sandbox.forwards, ports)
            .and_then(|()| core.journal.append(Record::Sandbox(Arc::clone(&record))))
            .map_err(|error| failed(&id, "create its sandbox", error))
    });
    if let Err(error) = created {
        sandbox.forwards.cancel();
        core.addresses.release(ip);
        return Err(error);
    }
    index.sandboxes.insert(id, Arc::clone(&sandbox));
    drop(index);
    core.changed(&record);
    Ok(core.status(&sandbox))
}

fn record(core: &Core, spec: &SandboxSpec, id: &Arc<str>, ip: Ipv4Addr) -> SandboxRecord {
    let ports = spec.ports.iter().map(|port| PortRecord {
        container: port.container_port,
        host: port.host_port,
        ip: port.host_ip,
        protocol: port.protocol,
    });
    SandboxRecord {
        id: Arc::clone(id),
        namespace: Arc::clone(&spec.namespace),
        pod: Arc::clone(&spec.pod_name),
        uid: spec.pod_uid.as_str().into(),
        attempt: spec.attempt,
        hostname: spec.hostname.clone(),
        ip,
        host_network: spec.host_network,
        ports: ports.collect(),
        limits: Limits::from(&spec.limits),
        dns_servers: spec.dns_servers.clone(),
        dns_search: spec.dns_search.clone(),
        at: core.now(),
    }
}

/// Opens the host ports of sandboxes that were adopted, but those that are taken meanwhile.
pub(crate) fn forward_adopted(core: &Core) -> io::Result<()> {
    let sandboxes: Vec<_> = core.index().sandboxes.values().cloned().collect();
    for sandbox in
        sandboxes.iter().filter(|sandbox| !sandbox.is_stopped() && !sandbox.record.ports.is_empty())
    {
        host_port::forward(&core.tasks, &sandbox.forwards, host_port::bind_again(&sandbox.record))?;
    }
    Ok(())
}

/// Kills all containers of a sandbox, and gives its address up. Whoever calls it may go away at any time: the next call goes on.
pub(crate) async fn stop(core: &Arc<Core>, id: &Arc<str>) -> Result<(), RuntimeError> {
    let Some(sandbox) = core.index().sandboxes.get(id).cloned() else { return Ok(()) };
    sandbox.stopped.store(true, Ordering::SeqCst);
    sandbox.forwards.cancel();
    let containers = core.index().of(id);
    // All are killed before any is waited for.
    for container in &containers {
        container::kill(container)?;
    }
    for container in &containers {
        container::stop(container, Duration::ZERO).await?;
    }
    if sandbox.released.load(Ordering::SeqCst) {
        return Ok(());
    }
    let core = Arc::clone(core);
    let stopped = tokio::task::spawn_blocking(move || {
        let _op = sandbox.lock();
        if !sandbox.released.load(Ordering::SeqCst) {
            core.release(&sandbox.record)?;
            sandbox.released.store(true, Ordering::SeqCst);
            core.changed(&sandbox.record);
        }
        Ok::<_, io::Error>(())
    });
    match stopped.await.map_err(io::Error::other).flatten() {
        Ok(()) => Ok(()),
        Err(error) => Err(failed(id, "write down that its sandbox is stopped", error)),
    }
}

/// Removes a stopped sandbox with all its containers.
pub(crate) fn remove(core: &Arc<Core>, id: &Arc<str>) -> Result<(), RuntimeError> {
    let Some(sandbox) = core.index().sandboxes.get(id).cloned() else { return Ok(()) };
    let _op = sandbox.lock();
    if !sandbox.is_stopped() {
        return Err(not_found("stopped sandbox", id));
    }
    let containers = core.index().of(id);
    for container in &containers {
        container::remove(core, container)?;
    }
    core.journal
        .append(Record::SandboxRemoved { id: Arc::clone(id) })
        .map_err(|error| failed(id, "write down that its sandbox is removed", error))?;
    core.index().sandboxes.remove(id);
    core.changed(&sandbox.record);
    Ok(())
}
