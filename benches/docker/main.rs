//! Pods on Docker Engine beside Docker's own floor and Docker Swarm, each in rounds that alternate.
//!
//! `cargo bench --features docker --bench docker -- [start] [heal] [roll] [rest] [--report FILE]`; all four where none
//! is named. `scale` is one round of `start` without Swarm, for whoever works on it. It takes an engine that answers, and root for `heal`. What counts is the median of the ratios of a
//! round. The floor is bollard alone with the same containers, sandboxes among them, as many at once as is best. Swarm
//! mode is begun where the engine is not in it, and left again.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a benchmark"
)]

mod engine;
mod ours;
#[path = "../report/mod.rs"]
mod report;
mod swarm;

use std::path::PathBuf;
use std::time::Duration;

use engine::Engine;
use ours::Ours;
use report::{Report, Target, median};
use swarm::Swarm;
use tokio::time::Instant;

/// Pods that are begun with; as many again come and go.
const PODS: usize = 50;
/// Pods that are replaced by a new version, this many at once.
const ROLLED: usize = 20;
pub(crate) const SURGE: usize = 5;
const ROUNDS: usize = 3;
const HEALS: usize = 7;
/// Pods of which the CPU time of a life is measured.
const LIVES: usize = 20;
/// Pods that are watched at rest, and how long.
const RESTING: usize = 500;
const REST: Duration = Duration::from_secs(30);

const PHASES: [&str; 4] = ["start", "heal", "roll", "rest"];
/// Pods of the floor at once in `scale`.
const IN_FLIGHT: usize = 8;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let named = |phase: &str| args.iter().any(|arg| arg == phase);
    let wanted: Vec<_> = PHASES.into_iter().filter(|phase| named(phase)).collect();
    let wanted = match wanted {
        _ if named("scale") => vec!["scale"],
        wanted if wanted.is_empty() => PHASES.to_vec(),
        wanted => wanted,
    };
    // Nothing here waits for more than one core, and the system's allocator keeps memory for each thread.
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut report = Report::new();
    tokio.block_on(async {
        let name = format!("orchestra-bench-{}", std::process::id());
        let dir = std::env::temp_dir().join(&name);
        let engine = Engine::open(&name).await;
        for phase in wanted {
            match phase {
                "start" => start(&engine, &dir, &mut report).await,
                "heal" => heal(&engine, &dir, &mut report).await,
                "roll" => roll(&engine, &dir, &mut report).await,
                "scale" => eprintln!(
                    "{:.2?} {:.2?}",
                    scale_floor(&engine, IN_FLIGHT).await,
                    scale_ours(&engine, &dir).await
                ),
                _ => rest(&engine, &dir, &mut report).await,
            }
        }
        engine.close().await;
        drop(std::fs::remove_dir_all(&dir));
    });
    report.finish();
}

pub(crate) fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

/// What a round took: of ours, the floor and Swarm, in seconds.
#[derive(Default)]
struct Round {
    floor: Vec<f64>,
    ours: Vec<f64>,
    /// The same until all pods were ready, too.
    ready: Vec<f64>,
    swarm: Vec<f64>,
}

/// One figure out of each round.
fn figures(rounds: &[Round], report: &mut Report, index: usize, what: &str, of_floor: f64, of_swarm: bool) {
    let column = |of: fn(&Round) -> &Vec<f64>| median(rounds.iter().map(|round| of(round)[index]));
    report.row(&format!("{what}: floor"), column(|round| &round.floor), "s", Target::None);
    report.row(&format!("{what}: ours"), column(|round| &round.ours), "s", Target::None);
    if !rounds[0].ready.is_empty() {
        report.row(&format!("{what}: ours, all ready"), column(|round| &round.ready), "s", Target::None);
    }
    report.row(&format!("{what}: Swarm"), column(|round| &round.swarm), "s", Target::None);
    let ratio = median(rounds.iter().map(|round| round.ours[index] / round.floor[index]));
    report.row(&format!("{what}: ours over the floor"), ratio, "times", Target::Below(of_floor + 1e-9));
    let ratio = median(rounds.iter().map(|round| round.ours[index] / round.swarm[index]));
    let target = if of_swarm { Target::Below(1.0) } else { Target::None };
    report.row(&format!("{what}: ours over Swarm"), ratio, "times", target);
}

/// 50 pods; 50 more; 50 fewer.
async fn start(engine: &Engine, dir: &std::path::Path, report: &mut Report) {
    let in_flight = engine.best_concurrency(PODS).await;
    report.row("floor: as many at once as is best", in_flight as f64, "", Target::None);
    let (alone, both) = engine.sandbox_share(PODS, in_flight).await;
    report.row("floor: of a pod's start, its sandbox's", alone / both, "times", Target::None);
    let mut rounds = Vec::new();
    for number in 0..ROUNDS {
        let mut round = Round::default();
        let swarm = Swarm::open(engine).await;
        // Who is first in a round takes turns.
        for turn in 0..3 {
            match (turn + number) % 3 {
                0 => round.floor = scale_floor(engine, in_flight).await,
                1 => (round.ours, round.ready) = scale_ours(engine, dir).await,
                _ => {
                    for replicas in [PODS, 2 * PODS, PODS] {
                        round.swarm.push(swarm.scale(replicas).await);
                    }
                    swarm.remove().await;
                }
            }
        }
        swarm.close().await;
        let Round { floor, ours, ready, swarm } = &round;
        eprintln!("start {number}: {floor:.2?} {ours:.2?} (ready {ready:.2?}) {swarm:.2?}");
        rounds.push(round);
    }
    figures(&rounds, report, 0, "0 to 50 pods", 1.10, true);
    figures(&rounds, report, 1, "50 to 100 pods", 1.10, false);
    figures(&rounds, report, 2, "100 to 50 pods", 1.10, false);
    lives(engine, dir, report).await;
}

async fn scale_floor(engine: &Engine, in_flight: usize) -> Vec<f64> {
    let (mut pods, mut took) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let begin = Instant::now();
        pods.extend(engine.start_pods(PODS, in_flight).await);
        took.push(seconds(begin));
    }
    let begin = Instant::now();
    engine.stop_pods(pods.split_off(PODS), in_flight).await;
    took.push(seconds(begin));
    engine.stop_pods(pods, in_flight).await;
    took
}

/// Until all are done, and until all are ready.
async fn scale_ours(engine: &Engine, dir: &std::path::Path) -> (Vec<f64>, Vec<f64>) {
    let ours = Ours::start(engine, dir).await;
    let (mut done, mut ready) = (Vec::new(), Vec::new());
    for replicas in [PODS, 2 * PODS, PODS] {
        let took = ours.scale(replicas).await;
        done.push(took.done);
        ready.push(took.ready);
    }
    ours.end().await;
    (done, ready)
}

/// What a pod's life costs us, from the object to nothing left.
async fn lives(engine: &Engine, dir: &std::path::Path, report: &mut Report) {
    let ours = Ours::start(engine, dir).await;
    let before = ours::cpu();
    ours.scale(LIVES).await;
    ours.scale(0).await;
    let of_each = (ours::cpu() - before).as_secs_f64() * 1000.0 / LIVES as f64;
    report.row("our CPU time of a pod's life", of_each, "ms", Target::Below(5.0));
    ours.end().await;
}

/// kill -9 of a container's process until another runs in its place.
async fn heal(engine: &Engine, dir: &std::path::Path, report: &mut Report) {
    let (mut floor, mut in_place, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..HEALS {
        let (same, new) = engine.heal().await;
        in_place.push(same);
        floor.push(new);
        // A cluster of its own: a container that ends again soon waits.
        let ours = Ours::start(engine, dir).await;
        ours.scale(1).await;
        own.push(ours.heal().await);
        ours.end().await;
        eprintln!("heal {number}: {:.3} {:.3} {:.3}", in_place[number], floor[number], own[number]);
    }
    let swarm = Swarm::open(engine).await;
    swarm.scale(1).await;
    let mut swarms = Vec::new();
    for _ in 0..ROUNDS {
        swarms.push(swarm.heal().await);
    }
    swarm.remove().await;
    swarm.close().await;
    let of = |values: &[f64]| median(values.iter().map(|seconds| seconds * 1000.0));
    report.row("kill -9 to running: floor, the same container", of(&in_place), "ms", Target::None);
    report.row("kill -9 to running: floor, a new container", of(&floor), "ms", Target::None);
    report.row("kill -9 to running: ours", of(&own), "ms", Target::None);
    report.row("kill -9 to running: Swarm", of(&swarms), "ms", Target::None);
    let ratio = median(own.iter().zip(&in_place).map(|(own, floor)| own / floor));
    report.row("kill -9 to running: ours over the floor", ratio, "times", Target::Below(1.2 + 1e-9));
    report.row("kill -9 to running: Swarm over ours", of(&swarms) / of(&own), "times", Target::AtLeast(3.0));
}

/// A new version of 20 pods, five more of them at a time and never fewer.
async fn roll(engine: &Engine, dir: &std::path::Path, report: &mut Report) {
    let mut rounds = Vec::new();
    let mut stop_first = Vec::new();
    for number in 0..ROUNDS {
        let mut round = Round::default();
        round.floor.push(engine.roll(ROLLED, SURGE).await);
        let ours = Ours::start(engine, dir).await;
        ours.scale(ROLLED).await;
        round.ours.push(ours.roll().await);
        ours.end().await;
        let swarm = Swarm::open(engine).await;
        swarm.scale(ROLLED).await;
        let start_first = swarm.roll(true).await;
        stop_first.push(swarm.roll(false).await);
        swarm.remove().await;
        swarm.close().await;
        round.swarm.push(start_first.min(stop_first[number]));
        eprintln!(
            "roll {number}: {:.2?} {:.2?} {start_first:.2} {:.2}",
            round.floor, round.ours, stop_first[number]
        );
        rounds.push(round);
    }
    figures(&rounds, report, 0, "rolling update of 20", 1.15, true);
    report.row("rolling update of 20: Swarm, stop first", median(stop_first), "s", Target::None);
}

/// Many pods, with nothing to do: not asked whether they are ready either, as what that costs is the kernel's, whose table of
/// neighbours is too small for so many by default, so that a question to one of them looks for it among all.
async fn rest(engine: &Engine, dir: &std::path::Path, report: &mut Report) {
    let ours = Ours::start(engine, dir).await.unasked();
    let took = ours.scale(RESTING).await;
    report.row("0 to 500 pods, all ready", took.ready, "s", Target::None);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = ours::cpu();
    tokio::time::sleep(REST).await;
    let share = (ours::cpu() - before).as_secs_f64() / REST.as_secs_f64() * 100.0;
    report.row("500 pods at rest: CPU of one core", share, "%", Target::Below(0.1));
    report.row("500 pods at rest: resident memory", ours::resident(), "MB", Target::Below(25.0));
    let took = ours.scale(0).await;
    report.row("500 to 0 pods", took.done, "s", Target::None);
    ours.end().await;
}

/// The words that run this script in a container.
pub(crate) fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).into()
}

/// A program that ends when it is told to.
pub(crate) const SERVER: &str =
    "mkdir -p /www; echo ok >/www/index.html; trap 'exit 0' TERM; httpd -f -p 8080 -h /www & wait";

/// The shell that images are made of.
pub(crate) fn busybox() -> PathBuf {
    let found = ["/bin/busybox", "/usr/bin/busybox"].iter().map(PathBuf::from).find(|path| path.exists());
    found.expect("a static busybox on this host: install Debian's busybox-static")
}
