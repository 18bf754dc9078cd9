//! The tour: what happens to the shop, phase by phase, and what must hold meanwhile.

mod load;
mod phases;
mod report;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use orchestra::autoscale::HorizontalAutoscaler;
use orchestra::prelude::*;
use tokio::time::Instant;

use crate::engine::Engine;
use load::{Counts, Load};
use report::{Phase, Progress};

/// The shop's manifests.
const MANIFESTS: &str = include_str!("../shop.yaml");

/// The cluster's nodes.
pub(crate) const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

/// How soon a silent node is noticed. Kubernetes waits 40 seconds; this tour is shorter.
const NODE_GRACE: Duration = Duration::from_secs(4);

/// How often the autoscaler looks. Kubernetes' 15 seconds would make a long phase.
const AUTOSCALE_EVERY: Duration = Duration::from_secs(1);

/// A phase that takes longer than this has failed.
const PHASE_LIMIT: Duration = Duration::from_secs(120);

/// Starts a cluster of three nodes. What they leave behind is in `dir`.
pub(crate) async fn start(engine: &Engine, dir: &Path) -> anyhow::Result<Cluster> {
    let builder = Cluster::builder().node_grace(NODE_GRACE).autoscaler(HorizontalAutoscaler, AUTOSCALE_EVERY);
    let mut builder = engine.configure(builder.dns((Ipv4Addr::LOCALHOST, 0)));
    for name in NODES {
        builder = engine.node(builder, name, dir)?;
    }
    Ok(builder.start().await?)
}

/// The cluster as the phases see it.
pub(crate) struct Tour<'c> {
    pub cluster: &'c Cluster,
    /// What runs its containers.
    pub engine: &'c Engine,
    /// The client of the namespace `shop`.
    pub shop: Client,
    /// Where the shop is served.
    pub page: SocketAddr,
}

/// Gives the tour. Returns whether every phase held. Stays until it is dropped, unless `once`.
pub(crate) async fn run(
    cluster: &Cluster,
    engine: &Engine,
    listen: SocketAddr,
    report: Option<&Path>,
    once: bool,
) -> anyhow::Result<bool> {
    let proxy = cluster.serve_http(listen, "shop", "frontend", 8080).await?;
    let tour = Tour { cluster, engine, shop: cluster.namespace("shop"), page: proxy.address() };
    println!("the shop will be at http://{}/", tour.page);
    // The load begins before there is a shop: its first requests wait for the first pods.
    let load = Load::start(tour.page);
    let mut phases = Vec::new();
    for (number, (name, phase)) in phases::ALL.into_iter().enumerate() {
        let counts = Arc::clone(&load.counts);
        let done = show(number + 1, name, &counts, |progress| phase(&tour, progress)).await;
        let held = done.ok;
        phases.push(done);
        if !held {
            // What follows builds on it.
            break;
        }
    }
    let counts = load.stop().await;
    report::print(&phases, &counts);
    if let Some(path) = report {
        report::write(path, &phases, &counts)?;
    }
    let held = phases.len() == phases::ALL.len() && phases.iter().all(|p| p.ok) && counts.failed() == 0;
    if !once {
        println!("\nthe shop stays up at http://{}/ until Ctrl-C", tour.page);
        if let Some(dns) = cluster.dns_address() {
            let (ip, port) = (dns.ip(), dns.port());
            println!("its names are served at {dns}: dig @{ip} -p {port} frontend.shop.svc.cluster.local");
        }
        std::future::pending::<()>().await;
    }
    drop(proxy);
    Ok(held)
}

async fn show<'a, F>(number: usize, name: &'static str, counts: &Counts, phase: F) -> Phase
where
    F: FnOnce(Progress) -> phases::Running<'a>,
{
    let (requests, failed, started) = (counts.total(), counts.failed(), Instant::now());
    let (done, progress) = match tokio::time::timeout(PHASE_LIMIT, phase(Progress::begin(number, name))).await
    {
        Ok((Ok(result), progress)) => ((true, result), Some(progress)),
        Ok((Err(error), progress)) => ((false, format!("{error:#}")), Some(progress)),
        Err(_) => ((false, format!("not done within {PHASE_LIMIT:?}")), None),
    };
    let (held, mut result) = done;
    let failed = counts.failed() - failed;
    if failed > 0 {
        result = format!("{result}; {failed} requests failed");
    }
    let phase = Phase {
        name,
        ok: held && failed == 0,
        took: started.elapsed(),
        requests: counts.total() - requests,
        failed,
        result,
    };
    match progress {
        Some(progress) => progress.end(number, &phase),
        None => println!("{number}. {name}: FAILED: {}", phase.result),
    }
    phase
}

/// The pods of a service, by name.
pub(crate) async fn pods(shop: &Client, app: &str) -> anyhow::Result<BTreeMap<String, Arc<Pod>>> {
    let options = ListOptions::default().labels(format!("app={app}").parse().map_err(anyhow::Error::msg)?);
    let pods = shop.list::<Pod>(&options).await?.items;
    Ok(pods.into_iter().map(|pod| (pod.metadata.name.clone(), pod)).collect())
}
