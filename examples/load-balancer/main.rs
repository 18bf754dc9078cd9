//! A load balancer of its own: an HTTP, TCP or UDP proxy whose endpoints come and go while it runs.
//!
//! ```text
//! cargo run --release --example load-balancer -- --listen 127.0.0.1:8080 --admin 127.0.0.1:8081 \
//!     --backend 127.0.0.1:9001 --backend 127.0.0.1:9002
//! curl 127.0.0.1:8081/endpoints
//! curl 127.0.0.1:8081/endpoints -d '{"add": ["127.0.0.1:9003"], "drain": ["127.0.0.1:9001"]}'
//! curl 127.0.0.1:8081/metrics
//! ```
//!
//! The POST returns when the drained endpoints have no request left: then they can be stopped without losing one.
//!
//! With `--hand-over PATH`, another one that is started with the same arguments takes over from it, without losing a connection.
//!
//! Built with `--features tls`, it speaks TLS with clients (`--tls-cert`, `--tls-key`; SIGHUP reads the files again) and with
//! backends (`--backend-ca`, `--backend-name`).

#![allow(clippy::print_stdout, reason = "a program that tells people what it does")]

mod admin;
mod balancers;
mod handover;
mod tls;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use metrics_exporter_prometheus::PrometheusBuilder;
use mimalloc::MiMalloc;
use orchestra::engine::Tasks;
use orchestra::net::{
    HealthCheck, HttpOptions, HttpProxy, Listening, Probe, Route, Routes, StickyCookie, TcpOptions, TcpProxy,
    UdpOptions, UdpProxy, Upstream, UpstreamOptions, Workers,
};

use self::balancers::{Backend, Choice};

/// A program chooses its allocator, a library does not: this one takes less time and memory than the system's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How often what the metrics have gathered is put together, so that it takes no memory where nobody asks.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// How long a client that keeps its connection may take to send one more request at the end, and an endpoint to answer a datagram: those that
/// send often do so in less.
const IDLE_GRACE: Duration = Duration::from_secs(2);

/// The bounds of the histograms, in seconds.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Spreads requests over backends that come and go.
#[derive(Parser)]
#[command(name = "load-balancer", version)]
struct Args {
    /// Where clients connect.
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// Where requests go, and in which zone that is; may be given again. More come through the admin listener.
    #[arg(long = "backend", value_name = "ADDR[@ZONE]")]
    backends: Vec<Backend>,
    #[command(flatten)]
    choice: Choice,
    /// Keeps the requests of a session at one backend by a cookie of this name, which the proxy issues.
    #[arg(long, value_name = "NAME", conflicts_with = "tcp")]
    sticky_cookie: Option<String>,
    /// Passes connections on as they are, of any protocol, each to one backend.
    #[arg(long)]
    tcp: bool,
    /// Passes datagrams on: those of each client to one backend, whose answers go back, until nothing has come for a minute.
    #[arg(long, conflicts_with_all = ["tcp", "http2", "sticky_cookie", "tls_cert", "backend_ca"])]
    udp: bool,
    /// Speaks HTTP/2 to the backends, as gRPC needs it: h2c with prior knowledge, or by ALPN. Clients choose what they speak.
    #[arg(long, conflicts_with = "tcp")]
    http2: bool,
    /// How backends are asked whether they are well: tcp, http:PATH, grpc or grpc:SERVICE.
    #[arg(long, value_name = "WHAT", default_value = "tcp", value_parser = probe, conflicts_with = "udp")]
    health: Probe,
    #[command(flatten)]
    tls: tls::TlsArgs,
    #[command(flatten)]
    hand_over: handover::HandOver,
    /// How many threads serve; one a core where it is not said.
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// Where GET /endpoints, POST /endpoints and GET /metrics are answered, to whoever reaches it: a loopback address.
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
}

fn probe(text: &str) -> anyhow::Result<Probe> {
    Ok(match text.split_once(':').unwrap_or((text, "")) {
        ("tcp", "") => Probe::Tcp,
        ("http", path) if path.starts_with('/') => Probe::Http(path.to_owned()),
        ("grpc", service) => Probe::Grpc(service.to_owned()),
        _ => anyhow::bail!("say tcp, http:/PATH, grpc or grpc:SERVICE"),
    })
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // The clients are served by the workers; this is for the rest.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    // Before the service, whose meters look for it.
    let metrics = PrometheusBuilder::new().set_buckets(&BUCKETS)?;
    let metrics = metrics.install_recorder().context("the metrics have a recorder already")?;
    let tasks = Tasks::new();
    let options = UpstreamOptions::default().with_http2(args.http2);
    let upstream = Upstream::new("backends", args.choice.balancer()?, options);
    args.tls.to_backends(&upstream)?;
    upstream.insert(args.backends.iter().map(Backend::endpoint));
    // Who speaks UDP need not speak TCP.
    if !args.udp {
        upstream.check(HealthCheck::new(args.health.clone()), &tasks);
    }

    let workers = match args.workers {
        Some(count) => count,
        None => std::thread::available_parallelism()?,
    };
    let workers = Workers::start(workers)?;
    let before = args.hand_over.inherit(&workers).await?;
    let listening = listen(&args, &upstream, &workers, &tasks).await?;
    handover::serving(before).await;
    let algorithm = &args.choice.algorithm;
    println!("serves {} with {} threads, {algorithm}", listening.address(), workers.count());
    let gathered = metrics.clone();
    tasks.spawn("metrics", async move {
        loop {
            tokio::time::sleep(METRICS_UPKEEP).await;
            gathered.run_upkeep();
        }
    });
    let admin_tasks = tasks.child();
    if let Some(address) = args.admin {
        let admin = Arc::new(admin::Admin { upstream, metrics });
        let address = admin.listen(address, &admin_tasks).await?;
        println!("answers GET and POST /endpoints and GET /metrics at {address}");
    }
    let next = tokio::select! {
        biased;
        ended = told_to_end() => ended.map(|()| None)?,
        next = args.hand_over.next(&listening) => Some(next?),
    };
    println!("finishes the requests in flight");
    admin_tasks.shutdown().await;
    // Which may listen there now.
    drop(next);
    listening.shutdown().await;
    workers.shutdown().await;
    tasks.shutdown().await;
    Ok(())
}

async fn listen(
    args: &Args,
    upstream: &Arc<Upstream>,
    workers: &Workers,
    tasks: &Tasks,
) -> anyhow::Result<Listening> {
    if args.udp {
        let options = UdpOptions::default()
            .with_hash_client_address(args.choice.by_client_address()?)
            .with_shutdown_grace(IDLE_GRACE);
        return Ok(UdpProxy::new(Arc::clone(upstream), options, tasks).bind_to(workers, args.listen).await?);
    }
    if args.tcp {
        let options = TcpOptions::default().with_hash_client_address(args.choice.by_client_address()?);
        return Ok(TcpProxy::new(Arc::clone(upstream), options, tasks).bind_to(workers, args.listen).await?);
    }
    let options = HttpOptions::default().with_idle_grace(IDLE_GRACE);
    let mut route = Route::to(Arc::clone(upstream));
    if let Some(policy) = args.choice.hash_policy() {
        route = route.hash_by(policy);
    }
    if let Some(name) = &args.sticky_cookie {
        route = route.sticky(StickyCookie::new(name)?.secure(args.tls.serves()));
    }
    let proxy = HttpProxy::new(Routes::new().with(route), options, tasks);
    args.tls.listen(&proxy, workers, args.listen, tasks).await
}

async fn told_to_end() -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await?;
    Ok(())
}
