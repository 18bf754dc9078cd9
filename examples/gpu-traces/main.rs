//! How much of a GPU cluster a scheduler can give away: replays the public traces of GPU-sharing workloads that the paper "Beware of
//! Fragmentation" (Weng et al., USENIX ATC 2023) was measured with, by its rules, beside its results.
//!
//! `cargo run --release --example gpu-traces -- DIRECTORY`, with the trace's CSV files there, as they are or gzipped: the node list and
//! the pod lists `default`, `gpushare60` and `multigpu20` of hkust-adsl/kubernetes-scheduler-simulator, `data/csv`.

#![allow(clippy::print_stdout, reason = "a program that tells people what it found")]

mod replay;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use orchestra::scheduler::{Fragmentation, Pipeline, PipelineBuilder, Scheduler};
use replay::{Result, replay};
use trace::Trace;

/// The published shares of GPUs, in percent, that policies give away when pods for 130 % of them have come, the mean of ten
/// seeds; last, what could be if no pod had to be refused.
const PUBLISHED: [(&str, [f64; 7]); 3] = [
    ("default", [87.47, 90.85, 91.88, 92.00, 93.08, 95.39, 96.32]),
    ("gpushare60", [83.65, 87.11, 87.20, 87.45, 89.36, 91.40, 92.41]),
    ("multigpu20", [88.69, 92.06, 93.56, 93.71, 93.93, 95.65, 96.82]),
];
const POLICIES: [&str; 7] = ["Random", "DotProd", "Clustering", "Packing", "BestFit", "FGD", "bound"];
/// Where the best published policy stands among them.
const BEST: usize = 5;

/// Makes a scheduler for a trace, that breaks ties by a seed.
type Make = fn(&Trace, u64) -> Box<dyn Scheduler>;

const SCHEDULERS: [(&str, Make); 3] = [
    ("fragmentation", |trace, seed| {
        let score = Fragmentation::of(trace.typical());
        Box::new(PipelineBuilder::fragmentation(score).seed(seed).build())
    }),
    ("fragmentation, learning", |_, seed| {
        Box::new(PipelineBuilder::fragmentation(Fragmentation::learning()).seed(seed).build())
    }),
    ("least-allocated", |_, seed| Box::new(Pipeline::builder().seed(seed).build())),
];

/// Replays GPU traces, and prints how much of the GPUs the schedulers give away.
#[derive(Parser)]
#[command(name = "gpu-traces", version)]
struct Args {
    /// Where the CSV files are.
    directory: PathBuf,
    /// How many seeds, from 42 on.
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// Only the scheduler of this name.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("gpu-traces: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Answers whether `fragmentation` gave away at least as much as the best published policy, on each trace.
fn run(args: &Args) -> anyhow::Result<bool> {
    println!("GPUs given away, in percent of all, when pods for 130 % of them have come:\n");
    println!("| trace | {} | fragmentation | |", POLICIES.join(" | "));
    println!("|{}", " --- |".repeat(POLICIES.len() + 3));
    let (mut details, mut reached) = (Vec::new(), true);
    for (name, published) in PUBLISHED {
        let trace = Trace::read(&args.directory, name)?;
        for (scheduler, make) in
            SCHEDULERS.iter().filter(|s| args.only.as_ref().is_none_or(|only| only == s.0))
        {
            let results: Vec<Result> =
                (42..42 + args.seeds).map(|seed| replay(&trace, seed, &mut *make(&trace, seed))).collect();
            if *scheduler == "fragmentation" {
                let (ours, _) = mean(&results, |result| result.allocated);
                let good = ours >= published[BEST];
                reached &= good;
                let published: Vec<String> =
                    published.iter().map(|percent| format!("{percent:.2}")).collect();
                let verdict = if good { "pass" } else { "MISS" };
                println!("| {name} | {} | {ours:.2} | {verdict} |", published.join(" | "));
            }
            details.push(detail(name, scheduler, &results));
        }
    }
    println!(
        "\n| trace | scheduler | at 130 % | deviation | at 100 % | fragmented | pods failed | time a decision |"
    );
    println!("|{}", " --- |".repeat(8));
    details.iter().for_each(|line| println!("{line}"));
    Ok(reached)
}

fn detail(trace: &str, scheduler: &str, results: &[Result]) -> String {
    let (at_end, deviation) = mean(results, |result| result.allocated);
    let (at_100, _) = mean(results, |result| result.allocated_at_100);
    let (fragmented, _) = mean(results, |result| result.fragmented);
    let (failed, _) = mean(results, |result| result.failed);
    let (micros, _) = mean(results, |result| result.micros);
    format!(
        "| {trace} | {scheduler} | {at_end:.2} % | {deviation:.2} | {at_100:.2} % | {fragmented:.2} % | {failed:.0} | \
         {micros:.0} us |"
    )
}

/// Mean and standard deviation.
#[allow(clippy::cast_precision_loss, reason = "a handful of seeds")]
fn mean(results: &[Result], part: impl Fn(&Result) -> f64) -> (f64, f64) {
    let count = results.len().max(1) as f64;
    let mean = results.iter().map(&part).sum::<f64>() / count;
    let squares: f64 = results.iter().map(|result| (part(result) - mean).powi(2)).sum();
    (mean, (squares / count).sqrt())
}
