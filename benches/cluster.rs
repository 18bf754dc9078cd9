//! A cluster of plain processes: how soon it accepts objects, what it costs at rest, how soon a killed process serves again.
//! `cargo bench --bench cluster`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]
#![allow(clippy::unwrap_used, reason = "a benchmark that fails shall stop")]
#![allow(clippy::cast_precision_loss, reason = "figures are far below 2^52")]

mod inherited;
mod report;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use orchestra::prelude::*;
use report::{Report, Target, median};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

/// Of several runs the median counts.
const RUNS: usize = 5;

/// How long a cluster at rest is watched.
const REST: Duration = Duration::from_secs(60);

fn main() {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        serve();
        return;
    }
    inherited::close_on_exec();
    let dir = std::env::temp_dir().join(format!("orchestra-bench-cluster-{}", std::process::id()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut report = Report::new();
    runtime.block_on(async {
        start_up(&dir, &mut report).await;
        at_rest(&dir, &mut report).await;
        heal(&dir, &mut report).await;
    });
    report.finish();
    std::fs::remove_dir_all(&dir).unwrap();
}

/// What the pods run: this program, as a small web server.
fn serve() {
    let listener = TcpListener::bind((std::env::var("POD_IP").unwrap(), 8080)).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let _request = Read::read(&mut stream, &mut [0; 1024]).unwrap();
        let pid = std::process::id().to_string();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", pid.len());
        Write::write_all(&mut stream, format!("{head}{pid}").as_bytes()).unwrap();
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// From the builder to an object that is stored.
async fn start_up(dir: &Path, report: &mut Report) {
    for durable in [false, true] {
        let mut times = Vec::new();
        for run in 0..RUNS {
            let started = Instant::now();
            let builder = Cluster::builder();
            let builder = if durable { builder.data_dir(dir.join(format!("store-{run}"))) } else { builder };
            let cluster = builder.start().await.unwrap();
            cluster.create(ConfigMap::new("first")).await.unwrap();
            times.push(millis(started.elapsed()));
            cluster.stop().await;
        }
        let (store, limit) = if durable { ("durable", 50.0) } else { ("memory", 10.0) };
        let what = format!("builder to first object stored, {store} store");
        report.row(&what, median(times), "ms", Target::Below(limit));
    }
}

fn node(dir: &Path, name: &str) -> NodeOptions {
    let image = ProcessImage::new(std::env::current_exe().unwrap()).arg("serve");
    let runtime = ProcessRuntime::builder(dir.join(name)).image("web:1", image).build().unwrap();
    NodeOptions::new(name, runtime).data_dir(dir.join(name).join("volumes"))
}

async fn web_cluster(dir: &Path, nodes: &[&str], replicas: u32) -> Cluster {
    let mut builder = Cluster::builder();
    for name in nodes {
        builder = builder.node(node(dir, name));
    }
    let cluster = builder.start().await.unwrap();
    let web = Deployment::new("web").image("web:1").replicas(replicas).port(8080);
    cluster.apply(web.readiness(Probe::tcp(8080))).await.unwrap();
    cluster.apply(Service::new("web").port(8080)).await.unwrap();
    available(&cluster, replicas).await;
    cluster
}

async fn available(cluster: &Cluster, replicas: u32) {
    let all = |d: Option<&Deployment>| d.is_some_and(|d| d.status.available_replicas == replicas);
    cluster.wait::<Deployment>("web", all).await.unwrap();
}

/// This process's resident memory in bytes, and of it that which is not of files: the program's own.
fn memory() -> (u64, u64) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: Vec<u64> = statm.split_whitespace().map(|pages| pages.parse().unwrap()).collect();
    (pages[1] * 4096, (pages[1] - pages[2]) * 4096)
}

/// The CPU time that this process used, by the scheduler's clock: ticks count what wakes with them too often.
fn cpu() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}

/// Three nodes and twenty pods, with nothing to do.
async fn at_rest(dir: &Path, report: &mut Report) {
    let (before, _) = memory();
    let cluster = web_cluster(dir, &["rest-1", "rest-2", "rest-3"], 20).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let cpu_before = cpu();
    tokio::time::sleep(REST).await;
    let share = (cpu() - cpu_before).as_secs_f64() / REST.as_secs_f64() * 100.0;
    let (resident, own) = memory();
    let mb = |bytes: u64| bytes as f64 / 1e6;
    report.row("3 nodes, 20 pods at rest: CPU of one core", share, "%", Target::Below(0.1));
    report.row("3 nodes, 20 pods at rest: resident memory", mb(resident), "MB", Target::Below(15.0));
    report.row("  of it not the program's file", mb(own), "MB", Target::None);
    report.row("  of it before there was a cluster", mb(before), "MB", Target::None);
    cluster.stop().await;
}

/// From the kill of a pod's process until another answers in its place: with noticing its end, and its start-up.
async fn heal(dir: &Path, report: &mut Report) {
    let mut times = Vec::new();
    for run in 0..RUNS {
        let name = format!("heal-{run}");
        let cluster = web_cluster(dir, &[&name], 1).await;
        let pods = cluster.list::<Pod>(&ListOptions::default()).await.unwrap().items;
        let address = SocketAddr::from((pods[0].status.pod_ip.unwrap(), 8080));
        let pid = server_pid(address).await.unwrap();
        let killed = Instant::now();
        std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
        while server_pid(address).await.is_none_or(|now| now == pid) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times.push(millis(killed.elapsed()));
        cluster.stop().await;
    }
    report.row("kill -9 of a process until another serves", median(times), "ms", Target::Below(100.0));
}

/// Asks the server at an address for its process id; `None`: it does not serve.
async fn server_pid(address: SocketAddr) -> Option<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}
