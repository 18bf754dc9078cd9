//! The node's own objects: its Node, and the Lease that says that it lives.

use std::sync::Arc;
use std::time::Duration;

use super::agent::Shared;
use super::backoff::CALL_BACKOFF;
use super::error::chain;
use super::ops::bounded;
use crate::client::ClientError;
use crate::controller::NODE_LEASE_NAMESPACE;
use crate::model::{
    Condition, HOSTNAME, Lease, Namespace, Node, NodeAddress, NodeAddressType, NodeStatus, NodeSystemInfo,
    Quantity,
};

/// For how many periods a lease is held after each renewal: Kubernetes' 40 s for 10 s.
const LEASE_PERIODS: u32 = 4;

/// How long a runtime may take to say what it is before it counts as one that does not answer, at least.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// By how much the lease period is spread, so that the agents of a large cluster do not write at once.
const LEASE_JITTER: f64 = 0.04;

/// Writes the Node object, until it is written.
pub(super) async fn register(shared: &Arc<Shared>) {
    let mut failures = 0;
    while let Err(error) = write_node(shared).await {
        failures += 1;
        tracing::warn!(node = %shared.node, %error, failures, "the node is not registered yet");
        tokio::time::sleep(CALL_BACKOFF.after(failures)).await;
    }
}

async fn write_node(shared: &Arc<Shared>) -> Result<(), ClientError> {
    let client = &shared.client;
    let labels = labels(shared);
    match client.find::<Node>(&shared.node).await? {
        None => {
            let mut node = Node::new(&*shared.node);
            node.metadata.labels.extend(labels);
            node.spec.taints.clone_from(&shared.options.taints);
            match client.create(node).await {
                Err(ClientError::AlreadyExists(_)) => {}
                result => drop(result?),
            }
        }
        Some(node) if labels.iter().any(|(k, v)| node.metadata.labels.value(k) != Some(v)) => {
            client.modify::<Node>(&shared.node, |node| node.metadata.labels.extend(labels.clone())).await?;
        }
        Some(_) => {}
    }
    client.modify_status::<Node>(&shared.node, |node| write_status(shared, &mut node.status)).await?;
    Ok(())
}

fn labels(shared: &Shared) -> Vec<(String, String)> {
    let info = shared.info.get();
    let mut labels = vec![(HOSTNAME.to_owned(), shared.node.to_string())];
    if let Some(info) = info {
        labels.push(("kubernetes.io/os".to_owned(), info.os.clone()));
        labels.push(("kubernetes.io/arch".to_owned(), info.architecture.clone()));
    }
    labels.extend(shared.options.labels.iter().map(|(k, v)| (k.clone(), v.clone())));
    labels
}

fn write_status(shared: &Shared, status: &mut NodeStatus) {
    let options = &shared.options;
    if let Some(info) = shared.info.get() {
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        status.capacity.insert("cpu".to_owned(), Quantity::from_milli(whole(info.cpu_milli)));
        status.capacity.insert("memory".to_owned(), Quantity::from_bytes(whole(info.memory)));
        if info.storage > 0 {
            let storage = Quantity::from_bytes(whole(info.storage));
            status.capacity.insert("ephemeral-storage".to_owned(), storage);
        }
        status.node_info = NodeSystemInfo {
            kernel_version: info.kernel.clone(),
            container_runtime_version: format!("{}://{}", info.name, info.version),
            kubelet_version: concat!("orchestra/", env!("CARGO_PKG_VERSION")).to_owned(),
            operating_system: info.os.clone(),
            architecture: info.architecture.clone(),
            ..status.node_info.clone()
        };
    }
    status.capacity.insert("pods".to_owned(), options.max_pods);
    status.capacity.extend(options.capacity.iter().map(|(k, v)| (k.clone(), *v)));
    status.allocatable = status.capacity.clone();
    let address = |type_, address: String| NodeAddress { type_, address, ..NodeAddress::default() };
    let mut addresses = vec![address(NodeAddressType::Hostname, shared.node.to_string())];
    addresses.extend(options.address.map(|ip| address(NodeAddressType::InternalIP, ip.to_string())));
    status.addresses = addresses;
    let ready = Condition::new("Ready", true, shared.clock.now())
        .reason("AgentReady")
        .message("the node agent is running and its runtime answers");
    ready.set_in(&mut status.conditions);
}

/// Renews the lease for as long as the agent lives, and sees to it that the Node says what is so: whoever judged
/// the node dead while it could not renew may have said otherwise.
pub(super) async fn keep_lease(shared: &Arc<Shared>) {
    let mut failures = 0;
    loop {
        let wait = match renew(shared).await {
            Ok(()) => {
                failures = 0;
                shared.now().to_whole_second(shared.rng.jitter(shared.options.lease_period, LEASE_JITTER))
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(node = %shared.node, %error, failures, "the node's lease was not renewed");
                CALL_BACKOFF.after(failures).min(shared.options.lease_period)
            }
        };
        if failures == 0 && shared.nodes.get(&shared.node_key()).is_none_or(|node| !node.is_ready()) {
            register(shared).await;
        }
        tokio::time::sleep(wait).await;
    }
}

/// Waits until the runtime answers. Whoever can't reach it can't run pods: its node falls silent, and they run elsewhere.
async fn answers(shared: &Arc<Shared>) {
    let mut failures = 0;
    let limit = shared.options.lease_period.max(ANSWER_LIMIT);
    while let Err(error) =
        bounded(limit, &shared.node, "ask the runtime what it is", shared.runtime.info()).await
    {
        failures += 1;
        let error = chain(&error);
        tracing::warn!(node = %shared.node, error, failures, "the runtime does not answer, so the lease is not renewed");
        tokio::time::sleep(CALL_BACKOFF.after(failures).min(shared.options.lease_period)).await;
    }
}

async fn renew(shared: &Arc<Shared>) -> Result<(), ClientError> {
    answers(shared).await;
    let client = shared.client.namespace(NODE_LEASE_NAMESPACE);
    let (name, now) = (&*shared.node, shared.clock.now());
    let seconds = (shared.options.lease_period * LEASE_PERIODS).max(Duration::from_secs(1)).as_secs();
    let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
    let renewed = client.modify::<Lease>(name, |lease| {
        lease.spec.holder_identity = name.to_owned();
        lease.spec.lease_duration_seconds = Some(seconds);
        lease.spec.renew_time = Some(now);
    });
    match renewed.await {
        Err(error) if error.is_not_found() => {}
        result => return result.map(drop),
    }
    let lease = Lease::new(name).held(name, seconds, now);
    match client.create(lease.clone()).await {
        Err(ClientError::Denied { .. }) => {}
        result => return result.map(drop),
    }
    // The namespace is made with the cluster; where there is only an agent, it makes it.
    match client.create(Namespace::new(NODE_LEASE_NAMESPACE)).await {
        Err(ClientError::AlreadyExists(_)) => {}
        result => drop(result?),
    }
    client.create(lease).await.map(drop)
}
