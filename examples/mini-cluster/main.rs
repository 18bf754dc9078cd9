//! A mini-cluster: three nodes in one process, a shop of six services on them, and a tour of what the
//! cluster does for it, under steady load.
//!
//! `cargo run --release --example mini-cluster` gives the tour and then stays up until Ctrl-C.

#![allow(clippy::print_stdout, reason = "a program that tells people what it does")]
#![allow(clippy::disallowed_methods, reason = "the shop's services and the load are programs of their own")]

mod shop;
mod tour;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand, ValueEnum};

/// Three nodes, six services, steady load, and a tour of what a cluster does for them.
#[derive(Parser)]
#[command(name = "mini-cluster", version)]
struct Args {
    /// End after the tour; the exit status says whether every phase held.
    #[arg(long)]
    once: bool,
    /// Write the phases and the requests as JSON to this file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// What runs the containers.
    #[arg(long, value_enum, default_value_t = RuntimeChoice::Auto)]
    runtime: RuntimeChoice,
    /// Where the shop is served; a free port of this machine where not given.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RuntimeChoice {
    /// Plain processes.
    Process,
    /// Docker Engine.
    Docker,
    /// What there is.
    Auto,
}

#[derive(Subcommand)]
enum Command {
    /// Run one service of the shop: what the cluster starts as a container.
    #[command(hide = true)]
    Shop { name: String },
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
    if let Some(Command::Shop { name }) = args.command {
        // A service of the shop is one of many on this machine: one thread is enough for it.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(shop::run(&name)).map(|()| true);
    }
    if args.runtime == RuntimeChoice::Docker {
        bail!("this build has no Docker runtime yet; use --runtime process");
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let dir = std::env::temp_dir().join(format!("mini-cluster-{}", std::process::id()));
    let held = runtime.block_on(async {
        let cluster = tour::start(&dir).await.context("starting the cluster")?;
        let result = tokio::select! {
            biased;
            interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| None).map_err(anyhow::Error::from),
            toured = tour::run(&cluster, args.listen, args.report.as_deref(), args.once) => toured.map(Some),
        };
        println!("stopping the cluster");
        cluster.stop().await;
        // Ctrl-C is how one leaves after the tour; in the middle of it, it is no success.
        anyhow::Ok(result?.unwrap_or(!args.once))
    });
    std::fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
    held
}
