//! What a call to a service from inside the application costs, beside the same call by hyper alone. `cargo bench --bench client`.
//!
//! Both call one backend on loopback, a thread of its own, one request after the other. Rounds of all alternate; what counts is the CPU
//! time of the calling thread, and the median of the rounds' differences.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a benchmark")]

mod report;

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use orchestra::engine::Tasks;
use orchestra_core::balance::Endpoint;
use orchestra_net::{ServiceClient, Upstream};
use report::{Report, Target, median, thread_cpu};
use tokio::net::{TcpListener, TcpStream};

const ROUNDS: usize = 41;
const CALLS: usize = 1_000;
/// The length of an answer in bytes.
const ANSWER: usize = 1024;
/// How many endpoints the service has. All are the one backend, by different names.
const ENDPOINTS: usize = 3;

fn main() {
    let backend = start_backend();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks = Tasks::new();
        let mut bare = Bare::connect(backend, &tasks).await;
        let pooled: legacy::Client<HttpConnector, Empty<Bytes>> =
            legacy::Client::builder(TokioExecutor::new()).build_http();
        let upstream = Upstream::named("default/catalogue");
        upstream.insert((0..ENDPOINTS).map(|pod| Endpoint::new(format!("pod-{pod}"), backend)));
        let ours = ServiceClient::new(upstream);
        let mut rounds = Vec::new();
        for _ in 0..=ROUNDS {
            let begun = cpu();
            for _ in 0..CALLS {
                bare.get().await;
            }
            let after_bare = cpu();
            for _ in 0..CALLS {
                let answer = pooled.get(format!("http://{backend}/items").parse().unwrap()).await.unwrap();
                assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), ANSWER);
            }
            let after_pooled = cpu();
            for _ in 0..CALLS {
                let answer = ours.get("/items").await.unwrap();
                assert_eq!(answer.into_body().bytes().await.unwrap().len(), ANSWER);
            }
            rounds.push([after_bare - begun, after_pooled - after_bare, cpu() - after_pooled]);
        }
        // The first one connects.
        rounds.remove(0);
        let per_call = |of: fn(&[f64; 3]) -> f64| median(rounds.iter().map(of)) * 1e6 / CALLS as f64;
        let mut report = Report::new();
        report.row("a call by one connection of hyper", per_call(|r| r[0]), "us", Target::None);
        report.row("a call by hyper-util's pooled client", per_call(|r| r[1]), "us", Target::None);
        report.row("a call by ServiceClient", per_call(|r| r[2]), "us", Target::None);
        report.row(
            "ServiceClient more than one connection",
            per_call(|r| r[2] - r[0]),
            "us",
            Target::Below(3.0),
        );
        report.row(
            "ServiceClient more than the pooled client",
            per_call(|r| r[2] - r[1]),
            "us",
            Target::Below(3.0),
        );
        report.finish();
        tasks.shutdown().await;
    });
}

/// The CPU time of this thread, in seconds.
fn cpu() -> f64 {
    thread_cpu().as_secs_f64()
}

/// One connection, which a task of its own moves.
struct Bare {
    sender: SendRequest<Empty<Bytes>>,
    host: String,
}

impl Bare {
    async fn connect(backend: SocketAddr, tasks: &Tasks) -> Self {
        let stream = TcpStream::connect(backend).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tasks.spawn("connection", async move { connection.await.unwrap() });
        Self { sender, host: backend.to_string() }
    }

    async fn get(&mut self) {
        self.sender.ready().await.unwrap();
        let request = Request::get("/items").header("host", &self.host).body(Empty::new()).unwrap();
        let answer = self.sender.send_request(request).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), ANSWER);
    }
}

/// A server on a thread of its own, until the program ends.
fn start_backend() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let tasks = Tasks::new();
            let listener = TcpListener::from_std(listener).unwrap();
            let body = Bytes::from(vec![b'x'; ANSWER]);
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let body = body.clone();
                let service = service_fn(move |_request| {
                    let body = Full::new(body.clone());
                    async move { Ok::<_, Infallible>(Response::new(body)) }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                let serving = connection.serve_connection(TokioIo::new(stream), service);
                tasks.spawn("serve", async move { drop(serving.await) });
            }
        });
    });
    address
}
