//! What the tour showed: live, as a table, and as JSON.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::Instant;

use super::load::Counts;

/// One phase of the tour, when it is over.
#[derive(Debug)]
pub(crate) struct Phase {
    pub name: &'static str,
    pub ok: bool,
    pub took: Duration,
    pub requests: u64,
    pub failed: u64,
    pub result: String,
}

/// Shows what goes on: a spinner on a terminal, plain lines elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    last: String,
}

impl Progress {
    pub(crate) fn begin(number: usize, name: &str) -> Self {
        let bar = std::io::stdout().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{spinner} {prefix} {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.set_prefix(format!("{number}. {name}:"));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        if bar.is_none() {
            println!("{number}. {name}");
        }
        Self { bar, started: Instant::now(), last: String::new() }
    }

    /// Says how far it is; says nothing twice.
    pub(crate) fn say(&mut self, what: impl Into<String>) {
        let what = what.into();
        if what == self.last {
            return;
        }
        match &self.bar {
            Some(bar) => bar.set_message(what.clone()),
            None => println!("   {:6.2} s  {what}", self.started.elapsed().as_secs_f64()),
        }
        self.last = what;
    }

    pub(crate) fn end(self, number: usize, phase: &Phase) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let mark = if phase.ok { "ok" } else { "FAILED" };
        println!(
            "{number}. {}: {mark} after {:.2} s: {}",
            phase.name,
            phase.took.as_secs_f64(),
            phase.result
        );
    }
}

/// The table at the end.
pub(crate) fn print(phases: &[Phase], counts: &Counts) {
    println!("\n{:<28} {:>7} {:>9} {:>9} {:>7}", "phase", "result", "seconds", "requests", "failed");
    println!("{}", "-".repeat(64));
    for phase in phases {
        let mark = if phase.ok { "ok" } else { "FAILED" };
        let seconds = phase.took.as_secs_f64();
        println!("{:<28} {mark:>7} {seconds:>9.2} {:>9} {:>7}", phase.name, phase.requests, phase.failed);
    }
    println!("{}", "-".repeat(64));
    println!("requests sent: {}, failed: {}", counts.total(), counts.failed());
    if let Ok(samples) = counts.samples.lock() {
        samples.iter().for_each(|sample| println!("  failed: {sample}"));
    }
}

/// The same as JSON, for `--report`.
pub(crate) fn write(path: &Path, phases: &[Phase], counts: &Counts) -> anyhow::Result<()> {
    let report = json!({
        "phases": phases.iter().map(|p| json!({
            "name": p.name,
            "ok": p.ok,
            "seconds": (p.took.as_secs_f64() * 1000.0).round() / 1000.0,
        })).collect::<Vec<_>>(),
        "requests": { "total": counts.total(), "failed": counts.failed() },
    });
    std::fs::write(path, format!("{report}\n"))
        .with_context(|| format!("writing the report to {}", path.display()))
}
