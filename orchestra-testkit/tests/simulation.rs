//! Whole clusters under the simulator: many seeds, each judged by all invariants.
//!
//! `ORCHESTRA_SEED=17 cargo test -p orchestra-testkit --test simulation -- --nocapture one_seed` lives through one again, and prints all
//! of it with `ORCHESTRA_WHOLE_TRACE=1`.
//! `ORCHESTRA_SEEDS=0..1000` lives through more than run by default.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::clone_on_ref_ptr,
    reason = "a test fails by panicking, and may print"
)]

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use orchestra_testkit::sim::{Mutant, Options, Outcome, Simulation};

/// The seeds that run unless others are chosen.
const SEEDS: Range<u64> = 0..104;

/// How many simulations run at once: the cores of a small machine.
const THREADS: u64 = 2;

fn seeds() -> Range<u64> {
    let chosen = std::env::var("ORCHESTRA_SEEDS").ok();
    let range = chosen.as_deref().and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    range.unwrap_or(SEEDS)
}

/// Runs the seeds, some at once, and returns those that failed.
fn run_all(seeds: Range<u64>) -> Vec<Outcome> {
    let (next, failed) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = Simulation::run(seed, &Options::of(seed));
                    if !outcome.is_good() {
                        failed.lock().unwrap().push(outcome);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}

#[test]
fn many_seeds() {
    let failed = run_all(seeds());
    for outcome in &failed {
        let violations: Vec<String> = outcome.violations.iter().map(ToString::to_string).collect();
        println!("seed {}: {}", outcome.seed, violations.join("; "));
    }
    if let Some(first) = failed.first() {
        panic!("{} seeds failed; the first:\n{first}", failed.len());
    }
}

/// How many seeds a defect may hide in.
const HIDES: u64 = 80;

#[test]
fn every_defect_is_found() {
    let (next, hidden) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(mutant) = Mutant::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = (0..HIDES).find_map(|seed| {
                        let mut options = Options::of(seed);
                        options.mutant = Some(*mutant);
                        Simulation::run(seed, &options)
                            .violations
                            .into_iter()
                            .next()
                            .map(|first| (seed, first))
                    });
                    match found {
                        Some((seed, first)) => println!("{mutant:?}: seed {seed}: {first}"),
                        None => hidden.lock().unwrap().push(*mutant),
                    }
                }
            });
        }
    });
    let hidden = hidden.into_inner().unwrap();
    assert!(hidden.is_empty(), "no check found {hidden:?}");
}

#[test]
fn one_seed() {
    let Some(seed) = std::env::var("ORCHESTRA_SEED").ok().and_then(|text| text.parse().ok()) else { return };
    let mut options = Options::of(seed);
    options.whole_trace = std::env::var_os("ORCHESTRA_WHOLE_TRACE").is_some();
    let outcome = Simulation::run(seed, &options);
    println!("{outcome}");
    assert!(outcome.is_good());
}

#[test]
fn one_seed_gives_one_history() {
    for seed in 0..8 {
        let options = Options::of(seed);
        let (once, again) = (Simulation::run(seed, &options), Simulation::run(seed, &options));
        if once.trace_hash == again.trace_hash {
            continue;
        }
        let mut options = options;
        options.whole_trace = true;
        let (once, again) = (Simulation::run(seed, &options), Simulation::run(seed, &options));
        let parts = once.trace.iter().zip(&again.trace).position(|(a, b)| a != b);
        let at = parts.unwrap_or(once.trace.len().min(again.trace.len()));
        let show = |trace: &[String]| trace[at.saturating_sub(10)..(at + 3).min(trace.len())].join("\n");
        panic!("seed {seed} has two histories:\n{}\n\n{}", show(&once.trace), show(&again.trace));
    }
}
