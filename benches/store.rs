//! Durable puts on the log store beside those of etcd, and how soon a store is open. `cargo bench --bench store`.
//!
//! Rounds of both alternate on the same disk, so that a busy machine hurts both alike; what counts is the median of the
//! rounds' ratios. etcd (Debian: `apt install etcd-server`) is spoken to as its own clients do, by gRPC over HTTP/2;
//! where it is not installed, only the log store's figures are printed.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a benchmark")]

mod report;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use orchestra_core::model::ConfigMap;
use orchestra_core::store::{Commit, LogStore, LogStoreOptions, Store};
use report::{Report, Target, median};
use tokio::task::JoinSet;
use tokio::time::Instant;

const WRITERS: usize = 64;
const PUTS_EACH: usize = 250;
const ROUNDS: usize = 5;
/// The size of a value in bytes.
const VALUE: usize = 1024;
/// etcd gets this many connections, so that none of them is the bottleneck.
const CONNECTIONS: usize = 8;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-store-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let mut report = Report::new();
    runtime.block_on(async {
        puts(&dir, &mut report).await;
        opening(&dir, &mut report).await;
    });
    report.finish();
    std::fs::remove_dir_all(&dir).unwrap();
}

async fn puts(dir: &Path, report: &mut Report) {
    let store = Arc::new(LogStore::open(dir.join("puts"), LogStoreOptions::default()).unwrap());
    let etcd = Etcd::start(&dir.join("etcd")).await;
    for writers in [1, WRITERS] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(put_ours(&store, writers).await);
            if let Some(etcd) = &etcd {
                theirs.push(etcd.put(writers).await);
            }
        }
        let (what, many) = (format!("durable puts, {writers} writers"), writers == WRITERS);
        report.row(&format!("{what}: log store"), median(ours.iter().copied()), "per s", Target::None);
        if theirs.is_empty() {
            continue;
        }
        report.row(&format!("{what}: etcd"), median(theirs.iter().copied()), "per s", Target::None);
        let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs);
        let target = if many { Target::AtLeast(3.0) } else { Target::None };
        report.row(&format!("{what}: ratio"), median(ratios), "times", target);
    }
    if etcd.is_none() {
        println!("(etcd is not installed: nothing to compare with)");
    }
    store.close().await.unwrap();
}

fn name(writer: usize, put: usize) -> String {
    format!("writer-{writer}-{put}")
}

fn object(name: &str) -> ConfigMap {
    ConfigMap::new(name).namespace("default").entry("value", "x".repeat(VALUE))
}

async fn put_ours(store: &Arc<LogStore>, writers: usize) -> f64 {
    let (begin, mut tasks) = (Instant::now(), JoinSet::new());
    for writer in 0..writers {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            for put in 0..PUTS_EACH {
                store.commit(Commit::new().put(object(&name(writer, put)))).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    (writers * PUTS_EACH) as f64 / begin.elapsed().as_secs_f64()
}

/// Opening of stores that were closed, or left as a kill leaves them: there is no difference on disk.
async fn opening(dir: &Path, report: &mut Report) {
    for objects in [0, 1_000, 10_000] {
        let dir = dir.join(format!("open-{objects}"));
        let store = LogStore::open(&dir, LogStoreOptions::default()).unwrap();
        for from in (0..objects).step_by(500) {
            let commit = (from..from + 500).fold(Commit::new(), |c, n| c.put(object(&name(0, n))));
            store.commit(commit).await.unwrap();
        }
        store.close().await.unwrap();
        drop(store);
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let begin = Instant::now();
            let store = LogStore::open(&dir, LogStoreOptions::default()).unwrap();
            times.push(begin.elapsed().as_secs_f64() * 1e3);
            store.close().await.unwrap();
        }
        let what = format!("log store with {objects} objects of 1 KB: open");
        report.row(&what, median(times), "ms", Target::Below(20.0));
    }
}

/// A server of its own, ended with this value.
struct Etcd {
    process: Child,
    connections: Vec<SendRequest<Bytes>>,
    driven: JoinSet<()>,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Etcd {
    /// Starts it, and waits until it answers. `None`: it is not installed.
    async fn start(dir: &Path) -> Option<Self> {
        let [client, peer] = [free_port(), free_port()];
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let process = Command::new("etcd")
            .arg("--data-dir")
            .arg(dir)
            .args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)])
            .args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)])
            .args(["--initial-cluster", &format!("default={}", url(peer))])
            .args(["--logger", "zap", "--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = match process {
            Ok(process) => process,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => panic!("etcd does not start: {error}"),
        };
        let mut etcd = Self { process, connections: Vec::new(), driven: JoinSet::new() };
        let until = Instant::now() + Duration::from_secs(30);
        while etcd.connections.len() < CONNECTIONS {
            let Ok(stream) = tokio::net::TcpStream::connect(("127.0.0.1", client)).await else {
                assert!(Instant::now() < until, "etcd does not answer");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            stream.set_nodelay(true).unwrap();
            let (sender, connection) = h2::client::handshake(stream).await.unwrap();
            etcd.driven.spawn(async move { drop(connection.await) });
            etcd.connections.push(sender);
        }
        Some(etcd)
    }

    async fn put(&self, writers: usize) -> f64 {
        let (begin, mut tasks) = (Instant::now(), JoinSet::new());
        for writer in 0..writers {
            let mut connection = self.connections[writer % CONNECTIONS].clone();
            tasks.spawn(async move {
                for put in 0..PUTS_EACH {
                    connection = grpc_put(connection, writer, put).await;
                }
            });
        }
        tasks.join_all().await;
        (writers * PUTS_EACH) as f64 / begin.elapsed().as_secs_f64()
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// `etcdserverpb.KV/Put`, with a message written by hand: key is field 1, value field 2.
async fn grpc_put(connection: SendRequest<Bytes>, writer: usize, put: usize) -> SendRequest<Bytes> {
    let mut message = BytesMut::new();
    let key = format!("/registry/configmaps/default/{}", name(writer, put));
    let value = serde_json::to_vec(&object(&name(writer, put))).unwrap();
    for (field, bytes) in [(1, key.as_bytes()), (2, value.as_slice())] {
        message.put_u8((field << 3) | 2);
        put_varint(&mut message, bytes.len());
        message.put_slice(bytes);
    }
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap());
    body.put_slice(&message);
    let request = http::Request::post("http://127.0.0.1/etcdserverpb.KV/Put")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let mut connection = connection.ready().await.unwrap();
    let (response, mut stream) = connection.send_request(request, false).unwrap();
    stream.send_data(body.freeze(), true).unwrap();
    let (head, mut body) = response.await.unwrap().into_parts();
    while let Some(data) = body.data().await {
        let length = data.unwrap().len();
        body.flow_control().release_capacity(length).unwrap();
    }
    let trailers = body.trailers().await.unwrap().unwrap_or(head.headers);
    assert_eq!(trailers.get("grpc-status").map(|s| s.as_bytes()), Some(&b"0"[..]), "{trailers:?}");
    connection
}

fn put_varint(buffer: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        buffer.put_u8(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    buffer.put_u8(u8::try_from(value).unwrap());
}
