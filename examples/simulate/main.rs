//! What would a scheduler do with these pods on these nodes? Reads Kubernetes manifests, touches no cluster.
//!
//! `cargo run --release --example simulate -- --nodes nodes.yaml --pods pods.yaml --out decisions.jsonl`

#![allow(clippy::print_stdout, reason = "a program that tells people what it found")]

mod input;
mod summary;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use orchestra::model::{Node, Pod, Uid};
use orchestra::scheduler::{
    Fragmentation, MostAllocated, Outcome, Pipeline, PipelineBuilder, Scheduler, View, explain, schedule,
};
use serde_json::{Value, json};
use summary::Summary;

/// Makes a scheduler that breaks ties by a seed.
type Make = fn(u64) -> Box<dyn Scheduler>;

/// The schedulers, by name. One of your own goes here.
const SCHEDULERS: [(&str, Make); 3] = [
    ("least-allocated", |seed| Box::new(Pipeline::builder().seed(seed).build())),
    ("most-allocated", |seed| {
        let builder = Pipeline::builder().without_score("NodeResourcesBalancedAllocation");
        // Enough to outweigh the preferences that spread pods.
        Box::new(builder.with_score("NodeResourcesFit", 10, MostAllocated).seed(seed).build())
    }),
    ("fragmentation", |seed| {
        Box::new(PipelineBuilder::fragmentation(Fragmentation::learning()).seed(seed).build())
    }),
];

/// Schedules the pods of a file on the nodes of another, and says where each would go and why not.
#[derive(Parser)]
#[command(name = "simulate", version)]
struct Args {
    /// Nodes: a List, YAML documents, or JSON values one after the other.
    #[arg(long, value_name = "FILE")]
    nodes: PathBuf,
    /// Pods in the same forms. Those with a node run there already; the others arrive in the order of the file.
    #[arg(long, value_name = "FILE")]
    pods: PathBuf,
    /// Which scheduler decides.
    #[arg(long, value_name = "NAME", default_value = SCHEDULERS[0].0,
          value_parser = clap::builder::PossibleValuesParser::new(SCHEDULERS.map(|(name, _)| name)))]
    scheduler: String,
    /// What ties between equal nodes are broken by.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Says of pods that wait what would help them, too. That takes longer than the decisions.
    #[arg(long)]
    explain: bool,
    /// Where one line of JSON for each pod goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simulate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let nodes = input::read::<Node>(&args.nodes)?;
    let pods = input::read::<Pod>(&args.pods)?;
    let out = File::create(&args.out).with_context(|| format!("cannot write {}", args.out.display()))?;
    let (_, make) =
        SCHEDULERS.iter().find(|(name, _)| *name == args.scheduler).context("no such scheduler")?;

    let mut view = View::new();
    for node in &nodes {
        view.node_changed(node);
    }
    for pod in pods.iter().filter(|pod| pod.node_name.is_some()) {
        view.pod_changed(pod);
    }
    let (lines, summary) = decide(&mut *make(args.seed), &mut view, &pods, args.explain);

    let mut out = BufWriter::new(out);
    for line in &lines {
        writeln!(out, "{line}").with_context(|| format!("cannot write {}", args.out.display()))?;
    }
    out.flush().with_context(|| format!("cannot write {}", args.out.display()))?;
    print!("{}", summary.text(&view));
    Ok(())
}

/// Decides about each pod as it arrives. Pods that must leave for another do so at once.
fn decide(
    scheduler: &mut dyn Scheduler,
    view: &mut View,
    pods: &[Arc<Pod>],
    explained: bool,
) -> (Vec<Value>, Summary) {
    let mut lines: Vec<Value> = Vec::with_capacity(pods.len());
    let mut line_of: BTreeMap<Uid, usize> = BTreeMap::new();
    let mut summary = Summary::default();
    for pod in pods {
        let name = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
        line_of.insert(pod.metadata.uid.clone(), lines.len());
        if let Some(node) = &pod.node_name {
            lines.push(json!({ "pod": name, "node": node, "why": "runs there already" }));
            continue;
        }
        let decision = summary.timed(|| schedule(scheduler, view, [Arc::clone(pod)]).remove(0));
        let line = match &decision.outcome {
            Outcome::Assigned(node) => json!({ "pod": name, "node": node, "why": null }),
            Outcome::Preempting { node, victims } => {
                for victim in victims {
                    view.pod_removed(&victim.metadata.uid);
                    if let Some(line) = line_of.get(&victim.metadata.uid).and_then(|i| lines.get_mut(*i)) {
                        line["node"] = Value::Null;
                        line["why"] = format!("had to leave node {node} for {name}").into();
                    }
                }
                let names: Vec<_> = victims.iter().map(|victim| &*victim.metadata.name).collect();
                json!({ "pod": name, "node": node, "why": format!("made leave: {}", names.join(", ")) })
            }
            Outcome::Pending(why) => {
                let help = if explained { explain(scheduler, view, pod).help } else { Vec::new() };
                let why = help.iter().fold(why.to_string(), |why, help| format!("{why}; {help}"));
                json!({ "pod": name, "node": null, "why": why })
            }
            _ => json!({ "pod": name, "node": null, "why": "undecided" }),
        };
        lines.push(line);
    }
    summary.count(&lines);
    (lines, summary)
}
