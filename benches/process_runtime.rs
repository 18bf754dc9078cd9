//! Pods on the process runtime against bare fork and exec of the same program, with the same concurrency.
//!
//! `cargo bench --bench process_runtime`. Rounds of both alternate, so that a busy machine hurts both alike. What
//! counts is the ratio: of rates, and, steadier on a busy machine, of the CPU time of a start, with that of the
//! program itself until it sleeps.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a benchmark")]

mod inherited;
mod report;

use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use orchestra_core::model::Uid;
use orchestra_core::runtime::{ContainerSpec, Runtime, SandboxSpec};
use orchestra_process::{ProcessImage, ProcessRuntime};
use report::{Report, Target, median};
use tokio::time::Instant;

const PROGRAM: &str = "/bin/sleep";
const PODS: usize = 200;
const ROUNDS: usize = 10;

/// One round: starts per second, and CPU time of a start in microseconds.
struct Round {
    rate: f64,
    cpu: f64,
}

/// CPU time of this process, and of the children it has waited for, in microseconds.
fn cpu() -> (f64, f64) {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = text.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(4);
    let ticks: Vec<f64> = fields.map(|field| field.parse().unwrap()).collect();
    let micros = 1e6 / 100.0;
    ((ticks[0] + ticks[1]) * micros, (ticks[2] + ticks[3]) * micros)
}

fn bare(concurrency: usize) -> Round {
    let (before, begin) = (cpu(), Instant::now());
    let mut children: Vec<Child> = std::thread::scope(|scope| {
        let spawn = || {
            let mut command = Command::new(PROGRAM);
            command.arg("1000000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        };
        let threads: Vec<_> = (0..concurrency)
            .map(|_| scope.spawn(move || (0..PODS / concurrency).map(|_| spawn()).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let (took, own) = (begin.elapsed(), cpu().0 - before.0);
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    Round { rate: PODS as f64 / took.as_secs_f64(), cpu: (own + cpu().1 - before.1) / PODS as f64 }
}

async fn pods(runtime: &Arc<dyn Runtime>, round: usize, concurrency: usize) -> Round {
    let (before, begin) = (cpu(), Instant::now());
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..concurrency {
        let runtime = Arc::clone(runtime);
        tasks.spawn(async move {
            for number in 0..PODS / concurrency {
                let name = format!("pod-{concurrency}-{round}-{task}-{number}");
                let spec = SandboxSpec::new("default", name.as_str(), Uid::from(name.as_str()));
                let sandbox = runtime.run_sandbox(&spec).await.unwrap().id;
                let spec = ContainerSpec::new("main", "sleep");
                let container = runtime.create_container(&sandbox, &spec).await.unwrap();
                runtime.start_container(&container).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let (took, own) = (begin.elapsed(), cpu().0 - before.0);
    for sandbox in runtime.list().await.unwrap() {
        let runtime = Arc::clone(runtime);
        tasks.spawn(async move { runtime.remove_sandbox(&sandbox.id).await.unwrap() });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    Round { rate: PODS as f64 / took.as_secs_f64(), cpu: (own + cpu().1 - before.1) / PODS as f64 }
}

fn main() {
    inherited::close_on_exec();
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let root = std::env::temp_dir().join(format!("orchestra-bench-process-{}", std::process::id()));
    let image = ProcessImage::new(PROGRAM).arg("1000000");
    let runtime =
        tokio.block_on(async { ProcessRuntime::builder(&root).image("sleep", image).build().unwrap() });
    let runtime: Arc<dyn Runtime> = Arc::new(runtime);
    println!("starts of {PROGRAM}, median of {ROUNDS} rounds of {PODS}; state in {}\n", root.display());
    let mut report = Report::new();
    for concurrency in [1, 4, 8, 16] {
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            rounds.push((bare(concurrency), tokio.block_on(pods(&runtime, round, concurrency))));
        }
        let mut row = |what: &str, of: fn(&(Round, Round)) -> f64, unit: &str, target: Target| {
            report.row(
                &format!("{concurrency} in flight: {what}"),
                median(rounds.iter().map(of)),
                unit,
                target,
            );
        };
        row("fork and exec", |(bare, _)| bare.rate, "per s", Target::None);
        row("pods", |(_, pods)| pods.rate, "per s", Target::None);
        row("pods, of the rate of fork and exec", |(b, p)| p.rate / b.rate, "times", Target::AtLeast(0.8));
        row("CPU time of a start, bare", |(bare, _)| bare.cpu, "us", Target::None);
        row("CPU time of a start, pod", |(_, pods)| pods.cpu, "us", Target::None);
    }
    report.finish();
    drop(runtime);
    drop(std::fs::remove_dir_all(&root));
}
