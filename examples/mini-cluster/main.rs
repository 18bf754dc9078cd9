//! A mini-cluster: three nodes in one process, a shop of six services on them, and a tour of what the
//! cluster does for it, under steady load.
//!
//! `cargo run --release --example mini-cluster` gives the tour and then stays up until Ctrl-C.

#![allow(clippy::print_stdout, reason = "a program that tells people what it does")]
#![allow(clippy::disallowed_methods, reason = "the shop's services and the load are programs of their own")]

mod engine;
mod http;
mod shop;
mod tour;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use engine::{Choice, Engine};

/// Three nodes, six services, steady load, and a tour of what a cluster does for them.
#[derive(Parser)]
#[command(name = "mini-cluster", version)]
struct Args {
    #[command(flatten)]
    tour: tour::Options,
    /// Write the phases and the requests as JSON to this file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// What runs the containers.
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    runtime: Choice,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run one service of the shop: what the cluster starts as a container.
    #[command(hide = true)]
    Shop { name: String },
    /// Kill a process: how the tour kills one inside a container, where there is no other program.
    #[command(hide = true)]
    Kill { pid: i32 },
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mini-cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<bool> {
    match args.command {
        Some(Command::Shop { name }) => {
            // A service of the shop is one of many on this machine: one thread is enough for it.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            return runtime.block_on(shop::run(&name)).map(|()| true);
        }
        Some(Command::Kill { pid }) => {
            let pid = rustix::process::Pid::from_raw(pid).context("no process has this number")?;
            rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
            return Ok(true);
        }
        None => {}
    }
    let mut report = args.report.as_deref().map(tour::Report::create).transpose()?;
    allow_sockets()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let dir = std::env::temp_dir().join(format!("mini-cluster-{}", std::process::id()));
    let held = runtime.block_on(async {
        let engine = Engine::open(args.runtime, &tour::NODES).await?;
        let held = give(&engine, &args, &dir, report.as_mut()).await;
        let closed = engine.close().await.context("removing what is left");
        held.and_then(|held| closed.map(|()| held))
    });
    let held = held?;
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    Ok(held)
}

/// Raises this process's limit of open files to what it may have: usual are 1,024, and the load, the shop's proxy and
/// those between its services are all in this process.
fn allow_sockets() -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit { current: maximum, maximum };
    setrlimit(Resource::Nofile, raised).context("raising the limit of open files")
}

/// Waits until somebody wants this program to end: by Ctrl-C, by `kill`, or by closing its terminal.
async fn interrupted() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}

/// Starts the cluster, gives the tour, and stops it.
async fn give(
    engine: &Engine,
    args: &Args,
    dir: &Path,
    report: Option<&mut tour::Report>,
) -> anyhow::Result<bool> {
    let cluster = tour::start(engine, dir).await.context("starting the cluster")?;
    let result = tokio::select! {
        biased;
        interrupted = interrupted() => interrupted.map(|()| None),
        toured = tour::run(&cluster, engine, &args.tour, report) => toured.map(Some),
    };
    println!("stopping the cluster");
    cluster.stop().await;
    // Ctrl-C is how one leaves after the tour; in the middle of it, it is no success.
    Ok(result?.unwrap_or(!args.tour.once))
}
