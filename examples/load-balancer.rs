//! A load balancer of its own: an HTTP or TCP proxy whose endpoints come and go while it runs.
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

#![allow(clippy::print_stdout, reason = "a program that tells people what it does")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::Parser;
use clap::builder::PossibleValuesParser;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use orchestra::balance::{
    ConsistentHash, Endpoint, EndpointId, LeastRequests, LoadBalancer, PeakEwma, RoundRobin,
};
use orchestra::engine::Tasks;
use orchestra::net::{
    HealthCheck, HttpOptions, HttpProxy, Listening, Probe, Routes, TcpOptions, TcpProxy, Upstream,
    UpstreamOptions, Workers,
};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

/// The longest body that the admin listener reads, in bytes: some 40,000 addresses.
const MAX_CHANGE: usize = 1 << 20;

/// How often what the metrics have gathered is put together, so that it takes no memory where nobody asks.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

type Make = fn() -> Box<dyn LoadBalancer>;

/// The algorithms, by name. One of your own goes here.
const ALGORITHMS: [(&str, Make); 4] = [
    ("peak-ewma", || Box::new(PeakEwma::default())),
    ("least-requests", || Box::new(LeastRequests::new())),
    ("round-robin", || Box::new(RoundRobin::new())),
    ("client-address", || Box::new(ConsistentHash::default())),
];

/// Spreads requests over backends that come and go.
#[derive(Parser)]
#[command(name = "load-balancer", version)]
struct Args {
    /// Where clients connect.
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// Where requests go; may be given again. More come through the admin listener.
    #[arg(long = "backend", value_name = "ADDR")]
    backends: Vec<SocketAddr>,
    /// Which backend gets a request.
    #[arg(long, value_name = "NAME", default_value = ALGORITHMS[0].0,
          value_parser = PossibleValuesParser::new(ALGORITHMS.map(|(name, _)| name)))]
    algorithm: String,
    /// Passes connections on as they are, of any protocol, each to one backend.
    #[arg(long)]
    tcp: bool,
    /// Speaks HTTP/2 (h2c, with prior knowledge) to the backends, as gRPC needs it. Clients choose what they speak.
    #[arg(long, conflicts_with = "tcp")]
    http2: bool,
    /// How many threads serve; one a core where it is not said.
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// Where GET /endpoints, POST /endpoints and GET /metrics are answered, to whoever reaches it: a loopback address.
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // The clients are served by the workers; this is for the rest.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    // Before the service, whose meters look for it.
    let metrics =
        PrometheusBuilder::new().install_recorder().context("the metrics have a recorder already")?;
    let tasks = Tasks::new();
    let make = ALGORITHMS.iter().find(|(name, _)| *name == args.algorithm);
    let balancer = make.context("there is no such algorithm")?.1();
    let upstream = Upstream::new("backends", balancer, UpstreamOptions::default().with_http2(args.http2));
    upstream.insert(args.backends.iter().copied().map(endpoint));
    upstream.check(HealthCheck::new(Probe::Tcp), &tasks);

    let workers = match args.workers {
        Some(count) => count,
        None => std::thread::available_parallelism()?,
    };
    let workers = Workers::start(workers)?;
    let listening = listen(&args, &upstream, &workers, &tasks).await?;
    println!("serves {} with {} threads, {}", listening.address(), workers.count(), args.algorithm);
    let gathered = metrics.clone();
    tasks.spawn("metrics", async move {
        loop {
            tokio::time::sleep(METRICS_UPKEEP).await;
            gathered.run_upkeep();
        }
    });
    if let Some(address) = args.admin {
        let admin = Arc::new(Admin { upstream, metrics });
        let address = admin.listen(address, &tasks).await?;
        println!("answers GET and POST /endpoints and GET /metrics at {address}");
    }
    told_to_end().await?;
    println!("finishes the requests in flight");
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
    let by_client = args.algorithm == "client-address";
    if args.tcp {
        let options = TcpOptions::default().with_hash_client_address(by_client);
        return Ok(TcpProxy::new(Arc::clone(upstream), options, tasks).bind_to(workers, args.listen).await?);
    }
    let options = HttpOptions::default().with_hash_client_address(by_client);
    let proxy = HttpProxy::new(Routes::to(Arc::clone(upstream)), options, tasks);
    Ok(proxy.bind_to(workers, args.listen).await?)
}

/// Backends are no pods: an address is all there is to know one by.
fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::new(address.to_string(), address)
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

/// What `POST /endpoints` says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    #[serde(default)]
    add: Vec<SocketAddr>,
    #[serde(default)]
    drain: Vec<SocketAddr>,
}

struct Admin {
    upstream: Arc<Upstream>,
    metrics: PrometheusHandle,
}

impl Admin {
    async fn listen(self: Arc<Self>, address: SocketAddr, tasks: &Tasks) -> anyhow::Result<SocketAddr> {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))?;
        let address = listener.local_addr()?;
        let connections = tasks.clone();
        tasks.spawn("admin", async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let admin = Arc::clone(&self);
                let service = service_fn(move |request| {
                    let admin = Arc::clone(&admin);
                    async move { Ok::<_, Infallible>(admin.answer(request).await) }
                });
                let serving = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service);
                connections.spawn("admin-connection", async move {
                    // A client that went away is its own affair.
                    let _ended = serving.await;
                });
            }
        });
        Ok(address)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/endpoints") => answer(StatusCode::OK, self.endpoints()),
            (&Method::POST, "/endpoints") => self.change(request).await,
            (&Method::GET, "/metrics") => answer(StatusCode::OK, self.metrics.render()),
            (_, "/endpoints" | "/metrics") => {
                answer(StatusCode::METHOD_NOT_ALLOWED, "GET, or POST /endpoints\n")
            }
            _ => answer(StatusCode::NOT_FOUND, "there are /endpoints and /metrics\n"),
        }
    }

    fn endpoints(&self) -> String {
        let status = self.upstream.status();
        let endpoints = status.iter().map(|endpoint| {
            json!({
                "address": endpoint.id.address.to_string(),
                "state": format!("{:?}", endpoint.state),
                "inFlight": endpoint.in_flight,
                "idleConnections": endpoint.idle_connections,
            })
        });
        format!("{}\n", json!({ "endpoints": endpoints.collect::<Vec<_>>() }))
    }

    async fn change(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let body = match Limited::new(request.into_body(), MAX_CHANGE).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                return answer(StatusCode::BAD_REQUEST, format!("the body did not come: {error}\n"));
            }
        };
        let change: Change = match serde_json::from_slice(&body) {
            Ok(change) => change,
            Err(error) => {
                let text = format!(r#"say {{"add": ["ip:port"], "drain": ["ip:port"]}}: {error}"#);
                return answer(StatusCode::BAD_REQUEST, text + "\n");
            }
        };
        // First those that come, so that there is no moment without any.
        self.upstream.insert(change.add.into_iter().map(endpoint));
        let gone: Vec<EndpointId> = change.drain.into_iter().map(|address| endpoint(address).id).collect();
        self.upstream.remove(&gone).await;
        answer(StatusCode::OK, self.endpoints())
    }
}

fn answer(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}
