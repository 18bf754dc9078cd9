//! What a proxied request costs beside nginx and HAProxy: CPU time of the proxy alone, on one core, with load and backends on another.
//!
//!     apt-get install nginx-light haproxy wrk
//!     cargo build --release --example load-balancer
//!     cargo bench --bench load_balancer
//!
//! Rounds of a second alternate between the proxies; what counts is the median of the ratios within a round. `--rounds N` says how many.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a benchmark")]

mod backend;
mod proxies;
#[path = "../report/mod.rs"]
mod report;

use std::process::{Command, Stdio};

use proxies::{Proxy, load_core};
use report::{Report, Target, median};

/// What is asked for.
struct Load {
    name: &'static str,
    path: &'static str,
    close: bool,
    /// The most that a request may cost, as a share of what nginx takes.
    target: f64,
    /// Whether our proxy speaks HTTP/2 to the backends.
    http2: bool,
}

const LOADS: [Load; 4] = [
    Load { name: "1 KB, keep-alive", path: "/1k", close: false, target: 0.95, http2: false },
    Load {
        name: "1 KB, keep-alive, h2c to the backends",
        path: "/1k",
        close: false,
        target: 0.90,
        http2: true,
    },
    Load { name: "1 KB, a connection each", path: "/1k", close: true, target: 1.05, http2: false },
    Load { name: "100 KB, keep-alive", path: "/100k", close: false, target: 1.0, http2: false },
];

/// Each round's measure, in seconds.
const ROUND: u32 = 1;

fn main() {
    if let Some(ports) = std::env::args().skip_while(|arg| arg != "--serve").nth(1) {
        return backend::serve(&ports);
    }
    if !std::env::args().any(|arg| arg == "--bench") {
        // `cargo test --benches` only looks whether it starts.
        return;
    }
    let rounds = std::env::args().skip_while(|arg| arg != "--rounds").nth(1);
    let rounds = rounds.map_or(7, |text| text.parse().expect("--rounds takes a number"));
    if let Err(lacks) = proxies::tools() {
        println!("not run: {lacks}");
        std::process::exit(1);
    }
    let backends = backend::start();
    let mut report = Report::new();
    for load in &LOADS {
        let proxies = [
            Proxy::nginx(&backends.ports),
            Proxy::haproxy(&backends.ports),
            Proxy::ours(&backends.ports, load.http2),
        ];
        // The first one connects.
        for proxy in &proxies {
            costs(proxy, load);
        }
        let rounds: Vec<[f64; 3]> =
            (0..rounds).map(|_| std::array::from_fn(|i| costs(&proxies[i], load))).collect();
        for (i, proxy) in proxies.iter().enumerate() {
            let cost = median(rounds.iter().map(|round| round[i]));
            report.row(&format!("{}: {}", load.name, proxy.name), cost, "CPU-s per 100,000", Target::None);
        }
        let over = |other: usize| median(rounds.iter().map(|round| round[2] / round[other]));
        report.row(
            &format!("{}: this / nginx", load.name),
            over(0),
            "times",
            Target::Below(load.target + 0.005),
        );
        report.row(&format!("{}: this / HAProxy", load.name), over(1), "times", Target::None);
    }
    report.finish();
}

/// The CPU-seconds that a proxy takes for 100,000 requests.
fn costs(proxy: &Proxy, load: &Load) -> f64 {
    let before = proxy.cpu();
    let url = format!("http://127.0.0.1:{}{}", proxy.port, load.path);
    let mut wrk = Command::new("taskset");
    wrk.args(["-c", load_core(), "wrk", "-t1", "-c64", &format!("-d{ROUND}s"), &url]);
    if load.close {
        wrk.args(["-H", "Connection: close"]);
    }
    let said = wrk.stderr(Stdio::inherit()).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout);
    let requests =
        said.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse::<f64>().ok());
    let requests = requests.unwrap_or_else(|| panic!("wrk said nothing of requests: {said}"));
    assert!(!said.contains("Non-2xx"), "{}: {said}", proxy.name);
    (proxy.cpu() - before) / requests * 100_000.0
}
