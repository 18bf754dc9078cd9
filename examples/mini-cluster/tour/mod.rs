//! The tour: what happens to the shop, phase by phase, and what must hold meanwhile.

mod autoscale;
mod load;
mod log;
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
use crate::http::Http;
use load::Load;
use log::Log;
use phases::PhaseFn;
use report::{Phase, Progress};

pub(crate) use report::Report;

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

/// What is given, and to whom.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// End after the tour; the exit status says whether every phase held.
    #[arg(long)]
    pub once: bool,
    /// Where the shop is served; a free port of this machine where not given.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// How many requests are sent a second, 1 to 1000: fewer for a slow machine, or a program that is not optimised.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
}

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
    pub page: String,
    pub http: Http,
    pub log: Arc<Log>,
}

/// Gives the tour. Returns whether every phase held. Stays until it is dropped, unless `options.once`.
pub(crate) async fn run(
    cluster: &Cluster,
    engine: &Engine,
    options: &Options,
    report: Option<&mut Report>,
) -> anyhow::Result<bool> {
    let proxy = cluster.serve_http(options.listen, "shop", "frontend", 8080).await?;
    let page = format!("http://{}/", proxy.address());
    let (shop, http, log) = (cluster.namespace("shop"), Http::new(), Arc::<Log>::default());
    let tour = Tour { cluster, engine, shop, page, http, log };
    println!("the shop will be at {}", tour.page);
    // The load begins before there is a shop: its first requests wait for the first pods.
    let load = Load::start(tour.http.clone(), tour.page.clone(), Arc::clone(&tour.log), options.rate);
    let mut phases = Vec::new();
    for (number, (name, phase)) in phases::ALL.into_iter().enumerate() {
        let done = show(&tour, number, name, phase).await;
        let ok = done.ok(&tour.log);
        phases.push(done);
        if !ok {
            // What follows builds on it.
            break;
        }
    }
    load.stop().await?;
    // Requests that were in flight at the end of their phase count too.
    let held = phases.len() == phases::ALL.len() && phases.iter().all(|phase| phase.ok(&tour.log));
    report::print(&phases, &tour.log);
    if let Some(report) = report {
        report.write(&phases, &tour.log)?;
    }
    if !options.once {
        println!("\nthe shop stays up at {} until Ctrl-C", tour.page);
        if let Some(dns) = cluster.dns_address() {
            let (ip, port) = (dns.ip(), dns.port());
            println!("its names are served at {dns}: dig @{ip} -p {port} frontend.shop.svc.cluster.local");
        }
        std::future::pending::<()>().await;
    }
    drop(proxy);
    Ok(held)
}

/// Shows a phase while it goes on, and how it ended.
async fn show(tour: &Tour<'_>, number: usize, name: &'static str, phase: PhaseFn) -> Phase {
    let progress = Progress::begin(number, name);
    tour.log.enter(number);
    let started = Instant::now();
    let done = tokio::time::timeout(PHASE_LIMIT, phase(tour, &progress)).await;
    let (held, result) = match done {
        Ok(Ok(result)) => (true, result),
        Ok(Err(error)) => (false, format!("{error:#}")),
        Err(_) => (false, format!("not done within {PHASE_LIMIT:?}")),
    };
    let phase = Phase { number, name, held, took: started.elapsed(), result };
    progress.end(&phase, &tour.log);
    phase
}

/// The pods of a service, by name.
pub(crate) async fn pods(shop: &Client, app: &str) -> anyhow::Result<BTreeMap<String, Arc<Pod>>> {
    let options = ListOptions::default().labels(format!("app={app}").parse().map_err(anyhow::Error::msg)?);
    let pods = shop.list::<Pod>(&options).await?.items;
    Ok(pods.into_iter().map(|pod| (pod.metadata.name.clone(), pod)).collect())
}
