//! What the tour showed: live, as a table, and as JSON.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::Instant;

use super::load::DEADLINE;
use super::log::{Log, Sum};

/// One phase of the tour, when it is over.
#[derive(Debug)]
pub(crate) struct Phase {
    /// Counted from 0.
    pub number: usize,
    pub name: &'static str,
    /// Whether what was to be shown came about.
    pub held: bool,
    pub took: Duration,
    pub result: String,
}

impl Phase {
    /// Whether it held, and no request that was due in it is known to have failed.
    pub(crate) fn ok(&self, log: &Log) -> bool {
        self.held && log.sum(Some(self.number)).failed == 0
    }

    fn mark(&self, log: &Log) -> &'static str {
        if self.ok(log) { "ok" } else { "FAILED" }
    }
}

fn title(number: usize, name: &str) -> String {
    format!("{}. {name}", number + 1)
}

/// Shows what goes on: a spinner on a terminal, plain lines elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    last: Mutex<String>,
}

impl Progress {
    pub(crate) fn begin(number: usize, name: &str) -> Self {
        let title = title(number, name);
        let bar = std::io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{spinner} {prefix} {wide_msg} {elapsed}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.set_prefix(format!("{title}:"));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        if bar.is_none() {
            println!("{title}");
        }
        Self { bar, started: Instant::now(), last: Mutex::default() }
    }

    /// Says how far it is; says nothing twice.
    pub(crate) fn say(&self, what: impl Into<String>) {
        let what = what.into();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if what == *last {
            return;
        }
        match &self.bar {
            Some(bar) => bar.set_message(what.clone()),
            None => println!("   {:6.2} s  {what}", self.started.elapsed().as_secs_f64()),
        }
        *last = what;
    }

    pub(crate) fn end(self, phase: &Phase, log: &Log) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let (title, mark, seconds) =
            (title(phase.number, phase.name), phase.mark(log), phase.took.as_secs_f64());
        let failed = log.sum(Some(phase.number)).failed;
        let failed = if failed > 0 { format!("; {failed} requests failed") } else { String::new() };
        println!("{title}: {mark} after {seconds:.2} s: {}{failed}", phase.result);
    }
}

/// The table at the end.
pub(crate) fn print(phases: &[Phase], log: &Log) {
    let line = "-".repeat(74);
    println!(
        "\n{:<28} {:>6} {:>8} {:>9} {:>7} {:>11}",
        "phase", "result", "seconds", "requests", "failed", "slowest, ms"
    );
    println!("{line}");
    for phase in phases {
        let (mark, seconds) = (phase.mark(log), phase.took.as_secs_f64());
        let Sum { total, failed, slowest, .. } = log.sum(Some(phase.number));
        let (name, slowest) = (phase.name, slowest.as_millis());
        println!("{name:<28} {mark:>6} {seconds:>8.2} {total:>9} {failed:>7} {slowest:>11}");
    }
    println!("{line}");
    let Sum { total, failed, p99, slowest } = log.sum(None);
    println!("requests sent: {total}, failed: {failed}");
    let [p99, slowest, deadline] = [p99, slowest, DEADLINE].map(|took| took.as_millis());
    println!(
        "99 of 100 took up to {p99} ms from when they were due, the slowest {slowest} ms; beyond {deadline} ms they fail"
    );
    log.samples().iter().for_each(|sample| println!("  failed: {sample}"));
}

/// Where the same goes as JSON, for `--report`.
#[derive(Debug)]
pub(crate) struct Report {
    path: PathBuf,
    file: File,
}

impl Report {
    /// Opens the file, so that one that can't be written is known before the tour.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("opening the report {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file })
    }

    pub(crate) fn write(&mut self, phases: &[Phase], log: &Log) -> anyhow::Result<()> {
        let Sum { total, failed, .. } = log.sum(None);
        let report = json!({
            "phases": phases.iter().map(|phase| json!({
                "name": phase.name,
                "ok": phase.ok(log),
                "seconds": (phase.took.as_secs_f64() * 1000.0).round() / 1000.0,
            })).collect::<Vec<_>>(),
            "requests": { "total": total, "failed": failed },
        });
        writeln!(self.file, "{report}").with_context(|| format!("writing the report {}", self.path.display()))
    }
}
