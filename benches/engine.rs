//! The engine's figures: how soon a cluster accepts objects, what it costs at rest, how fast replicas come
//! up, how soon a killed process serves again. `cargo bench --bench engine`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]
#![allow(clippy::unwrap_used, reason = "a benchmark that fails shall stop")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use orchestra::model::Quantity;
use orchestra::prelude::*;
use orchestra_testkit::sim_runtime::{SimProgram, SimRuntime};
use tokio::time::Instant;

/// Of several runs the median counts.
const RUNS: usize = 5;

/// How long a cluster at rest is watched.
const REST: Duration = Duration::from_secs(20);

fn main() {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        serve();
        return;
    }
    let dir = std::env::temp_dir().join(format!("orchestra-bench-engine-{}", std::process::id()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!("{:<58} {:>12}", "what", "figure");
    runtime.block_on(async {
        start_up(&dir).await;
        at_rest(&dir).await;
        heal(&dir).await;
    });
    drop(runtime);
    let small = replicas(1_000);
    let large = replicas(10_000);
    row("1,000 replicas on a simulated runtime, all ready", &format!("{:.0} ms", millis(small)));
    row("10,000 replicas on a simulated runtime, all ready", &format!("{:.0} ms", millis(large)));
    row(
        "cost per pod at 10,000 over that at 1,000",
        &format!("{:.2}", large.as_secs_f64() / small.as_secs_f64() / 10.0),
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

/// What the pods run: this program, as a small web server.
fn serve() {
    let listener = TcpListener::bind((std::env::var("POD_IP").unwrap(), 8080)).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let _request = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").unwrap();
    }
}

fn row(what: &str, figure: &str) {
    println!("{what:<58} {figure:>12}");
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// From the builder to an object that is stored.
async fn start_up(dir: &Path) {
    for durable in [false, true] {
        let mut times = Vec::new();
        for run in 0..RUNS {
            let started = Instant::now();
            let builder = Cluster::builder();
            let builder = if durable { builder.data_dir(dir.join(format!("store-{run}"))) } else { builder };
            let cluster = builder.start().await.unwrap();
            cluster.create(ConfigMap::new("first")).await.unwrap();
            times.push(started.elapsed());
            cluster.stop().await;
        }
        let store = if durable { "durable" } else { "memory" };
        row(
            &format!("builder to first object stored, {store} store"),
            &format!("{:.1} ms", millis(median(times))),
        );
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

/// This process's resident memory in bytes, and the CPU time it used.
fn usage() -> (u64, Duration) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    (pages * 4096, Duration::from_millis(ticks * 10))
}

/// Three nodes and twenty pods, with nothing to do.
async fn at_rest(dir: &Path) {
    let (before, _) = usage();
    let cluster = web_cluster(dir, &["rest-1", "rest-2", "rest-3"], 20).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (_, cpu) = usage();
    tokio::time::sleep(REST).await;
    let (memory, after) = usage();
    let share = (after - cpu).as_secs_f64() / REST.as_secs_f64() * 100.0;
    row("3 nodes, 20 pods at rest: CPU of one core", &format!("{share:.2} %"));
    let mib = |bytes: u64| bytes / 1024 / 1024;
    row("3 nodes, 20 pods at rest: resident memory", &format!("{} MiB", mib(memory)));
    row("  of it before there was a cluster", &format!("{} MiB", mib(before)));
    cluster.stop().await;
}

/// From the kill of a pod's process until it answers again.
async fn heal(dir: &Path) {
    let mut times = Vec::new();
    for run in 0..RUNS {
        let name = format!("heal-{run}");
        let cluster = web_cluster(dir, &[&name], 1).await;
        let pods = cluster.list::<Pod>(&ListOptions::default()).await.unwrap().items;
        let address = SocketAddr::from((pods[0].status.pod_ip.unwrap(), 8080));
        let pid = server_pid(address);
        let killed = Instant::now();
        std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times.push(killed.elapsed());
        cluster.stop().await;
    }
    row("kill -9 of a process to its port open again", &format!("{:.1} ms", millis(median(times))));
}

/// The process that runs this benchmark's server on an address: the one with that POD_IP.
fn server_pid(address: SocketAddr) -> String {
    let wanted = format!("POD_IP={}", address.ip());
    let runs = |dir: &PathBuf| {
        let environ = std::fs::read(dir.join("environ")).unwrap_or_default();
        let command = std::fs::read(dir.join("cmdline")).unwrap_or_default();
        environ.split(|b| *b == 0).any(|v| v == wanted.as_bytes()) && command.ends_with(b"serve\0")
    };
    let mut processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let found = processes.find(runs).unwrap();
    found.file_name().unwrap().to_string_lossy().into_owned()
}

/// From apply to all ready, real time, on ten nodes whose containers cost nothing.
fn replicas(count: u32) -> Duration {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut builder = Cluster::builder();
        for i in 0..10 {
            let host = SimRuntime::new(i);
            host.any_image(SimProgram::service());
            let node = NodeOptions::new(format!("node-{i}"), host)
                .capacity("pods", Quantity::from_units(i64::from(count)))
                .capacity("cpu", Quantity::from_units(i64::from(count)));
            builder = builder.node(node);
        }
        let cluster = builder.start().await.unwrap();
        cluster.ready().await;
        let started = Instant::now();
        cluster.apply(Deployment::new("web").image("web:1").replicas(count)).await.unwrap();
        available(&cluster, count).await;
        let took = started.elapsed();
        cluster.leave().await;
        took
    })
}
