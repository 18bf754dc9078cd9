//! Steady load on the shop, from the first second to the last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How many clients there are, and how often each sends a request.
const CLIENTS: usize = 8;
const PACE: Duration = Duration::from_millis(50);

/// A request that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many failures are kept in words.
const SAMPLES: usize = 5;

/// What was sent, and what of it failed.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub total: AtomicU64,
    pub failed: AtomicU64,
    pub samples: std::sync::Mutex<Vec<String>>,
}

impl Counts {
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    fn fail(&self, what: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut samples) = self.samples.lock()
            && samples.len() < SAMPLES
        {
            samples.push(what);
        }
    }
}

/// Clients that send requests until they are stopped.
pub(crate) struct Load {
    pub counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts the clients. Every tenth request places an order, the others look at the page; all of them
    /// may be repeated without harm.
    pub(crate) fn start(proxy: SocketAddr) -> Self {
        let (counts, stop) = (Arc::<Counts>::default(), Arc::<AtomicBool>::default());
        let mut clients = JoinSet::new();
        for id in 0..CLIENTS {
            let (counts, stop) = (Arc::clone(&counts), Arc::clone(&stop));
            clients.spawn(async move { client(id, proxy, &counts, &stop).await });
        }
        Self { counts, stop, clients }
    }

    /// Lets each client finish its request, and ends them.
    pub(crate) async fn stop(mut self) -> Arc<Counts> {
        self.stop.store(true, Ordering::Relaxed);
        while self.clients.join_next().await.is_some() {}
        self.counts
    }
}

async fn client(id: usize, proxy: SocketAddr, counts: &Counts, stop: &AtomicBool) {
    let mut connection = None;
    let mut next = Instant::now() + PACE.mul_f64(id as f64 / CLIENTS as f64);
    let mut number: u64 = 0;
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep_until(next).await;
        next = (next + PACE).max(Instant::now());
        number += 1;
        counts.total.fetch_add(1, Ordering::Relaxed);
        let (method, path) = if number.is_multiple_of(10) {
            (Method::PUT, format!("/orders/{id}-{number}"))
        } else {
            (Method::GET, "/".to_owned())
        };
        let sent = tokio::time::timeout(PATIENCE, send(&mut connection, proxy, method.clone(), &path)).await;
        if let Err(error) = sent.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {PATIENCE:?}"))) {
            connection = None;
            counts.fail(format!("{method} {path}: {error:#}"));
        }
    }
}

type Connection = SendRequest<Full<Bytes>>;

async fn send(
    slot: &mut Option<Connection>,
    proxy: SocketAddr,
    method: Method,
    path: &str,
) -> anyhow::Result<()> {
    // A connection that the proxy has closed meanwhile is no failure: a new one is opened.
    if slot.as_ref().is_none_or(Connection::is_closed) {
        *slot = Some(connect(proxy).await?);
    }
    let connection = slot.as_mut().context("just connected")?;
    connection.ready().await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "shop")
        .body(Full::new(Bytes::from_static(b"{}")))?;
    let response = connection.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body).trim());
    Ok(())
}

async fn connect(proxy: SocketAddr) -> anyhow::Result<Connection> {
    let stream = TcpStream::connect(proxy).await.context("connecting to the proxy")?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // The other side ends it; what was in flight sees the error itself.
        let _ended = connection.await;
    });
    Ok(sender)
}

/// One request outside the load, and the JSON it is answered with.
pub(crate) async fn get_json(address: SocketAddr, path: &str) -> anyhow::Result<serde_json::Value> {
    let mut connection = connect(address).await?;
    let request = Request::builder().uri(path).header("host", "shop").body(Full::new(Bytes::new()))?;
    let response = connection.send_request(request).await?;
    if !response.status().is_success() {
        bail!("{path} answered {}", response.status());
    }
    let body = response.into_body().collect().await?.to_bytes();
    Ok(serde_json::from_slice(&body)?)
}
