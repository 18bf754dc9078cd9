//! What it costs to find the rule for a request among many. `cargo bench --bench routes`.
//!
//! Each host has a rule for all its paths and one for `/api`; requests go to all hosts in turn. What counts is the CPU time of this thread,
//! and the median of the rounds.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a benchmark")]

mod report;

use std::hint::black_box;
use std::sync::Arc;

use http::Request;
use orchestra_net::{Routes, Upstream};
use report::{Report, Target, median, thread_cpu};

const ROUNDS: usize = 21;
const LOOKUPS: usize = 20_000;
/// Of how many hosts requests are made: more of them would measure how fast requests come out of memory.
const ASKED: usize = 1_000;

fn main() {
    let mut report = Report::new();
    let service = Upstream::named("default/shop");
    let all = Routes::to(Arc::clone(&service));
    report.row("one rule for everything", lookup(&all, &[get("shop.local", "/cart/1")]), "ns", Target::None);
    for hosts in [1, 100, 10_000] {
        let host = |i: usize| format!("shop-{i}.example.com");
        let routes = (0..hosts).fold(Routes::new(), |routes, i| {
            routes.route(&host(i), "/", Arc::clone(&service)).route(&host(i), "/api", Arc::clone(&service))
        });
        // In an order that no cache foresees.
        let requests: Vec<_> =
            (0..hosts.min(ASKED)).map(|i| get(&host(i * 7919 % hosts), "/api/items/1")).collect();
        report.row(&format!("of {hosts} hosts"), lookup(&routes, &requests), "ns", Target::None);
    }
    let path = |i: usize| format!("/part-{}/item-{i}", i % 10);
    let routes = (0..1_000).fold(Routes::new(), |routes, i| routes.route("", &path(i), Arc::clone(&service)));
    let requests: Vec<_> = (0..1_000).map(|i| get("shop.local", &format!("{}/x", path(i)))).collect();
    report.row("of 1,000 prefixes of one host", lookup(&routes, &requests), "ns", Target::None);
    report.finish();
}

fn get(host: &str, path: &str) -> Request<()> {
    Request::get(path).header("host", host).body(()).unwrap()
}

/// The nanoseconds that a lookup takes.
fn lookup(routes: &Routes, requests: &[Request<()>]) -> f64 {
    let mut turn = requests.iter().cycle();
    let round = |_round| {
        let begun = thread_cpu();
        for request in turn.by_ref().take(LOOKUPS) {
            assert!(black_box(routes.find(black_box(request))).is_some());
        }
        (thread_cpu() - begun).as_secs_f64() * 1e9 / LOOKUPS as f64
    };
    // The first one warms up.
    median((0..=ROUNDS).map(round).skip(1))
}
