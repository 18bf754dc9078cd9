//! What a benchmark prints: a table of figures beside their targets, and with `--report FILE` the same as JSON.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

/// What a figure must be.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "each benchmark has this module, and not each has targets of all forms")]
pub(crate) enum Target {
    /// Less than this.
    Below(f64),
    /// This or more.
    AtLeast(f64),
    /// Only told.
    None,
}

/// The figures so far.
pub(crate) struct Report {
    file: Option<PathBuf>,
    figures: Vec<Value>,
}

impl Report {
    /// An empty report; prints the head of the table.
    pub(crate) fn new() -> Self {
        let mut args = std::env::args().skip_while(|arg| arg != "--report").skip(1);
        println!("| what | figure | target | |");
        println!("| --- | --- | --- | --- |");
        Self { file: args.next().map(PathBuf::from), figures: Vec::new() }
    }

    /// Prints a row, and keeps it.
    pub(crate) fn row(&mut self, what: &str, figure: f64, unit: &str, target: Target) {
        let (said, met) = match target {
            Target::Below(limit) => (format!("< {limit} {unit}"), Some(figure < limit)),
            Target::AtLeast(limit) => (format!(">= {limit} {unit}"), Some(figure >= limit)),
            Target::None => (String::new(), None),
        };
        let verdict = met.map_or("", |met| if met { "pass" } else { "MISS" });
        let digits = if figure.abs() >= 100.0 { 0 } else { 2 };
        println!("| {what} | {figure:.digits$} {unit} | {} | {verdict} |", said.trim_end());
        self.figures
            .push(json!({ "what": what, "figure": figure, "unit": unit, "target": said, "met": met }));
    }

    /// Writes the file that was asked for.
    pub(crate) fn finish(self) {
        if let Some(file) = self.file {
            let text = serde_json::to_string_pretty(&json!({ "figures": self.figures })).unwrap();
            std::fs::write(&file, text)
                .unwrap_or_else(|error| panic!("cannot write {}: {error}", file.display()));
        }
    }
}

/// The value in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The CPU time that this thread has used. (What `/proc` says of it is as old as the last tick: 4 ms.)
#[allow(dead_code, reason = "each benchmark has this module, and not each measures a thread")]
pub(crate) fn thread_cpu() -> Duration {
    rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).try_into().unwrap()
}
