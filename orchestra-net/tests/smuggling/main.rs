//! Request smuggling: hostile requests through the proxy to real servers, each of which reads HTTP in its own way.
//!
//! Every request is refused, or the server sees exactly one request, the one that the client is answered for; and
//! whoever comes next over the same connection gets the answer to their own.
#![allow(clippy::unwrap_used, reason = "a test may fail at any line")]

mod corpus;
mod downgrades;
#[path = "../net/frames.rs"]
#[allow(dead_code, reason = "the other tests use all of it")]
mod frames;
mod servers;

use std::net::SocketAddr;
use std::time::Duration;

use orchestra_core::balance::{Endpoint, RoundRobin};
use orchestra_core::engine::Tasks;
use orchestra_net::{HttpOptions, HttpProxy, Routes, Upstream, UpstreamOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use corpus::Case;
use downgrades::Downgrade;
use servers::Server;

/// How long an answer is waited for. A request that isn't whole, by the proxy's reading, gets none.
const QUIET: Duration = Duration::from_millis(250);

/// How long what must come is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn the_corpus_is_large_and_no_case_is_in_it_twice() {
    let cases = corpus::cases();
    assert!(cases.len() >= 300, "{}", cases.len());
    let mut bytes: Vec<_> = cases.iter().map(|case| &case.bytes).collect();
    bytes.sort_unstable();
    bytes.dedup();
    assert_eq!(bytes.len(), cases.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn hyper_is_not_smuggled_to() {
    attack(servers::hyper().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_is_not_smuggled_to() {
    attack_if_there("python3", servers::python().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_is_not_smuggled_to() {
    attack_if_there("nginx", servers::nginx().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_is_not_smuggled_to() {
    attack_if_there("haproxy", servers::haproxy().await).await;
}

/// A server that is not installed is not attacked; where `ORCHESTRA_REQUIRE_SERVERS` is set, that is a failure.
async fn attack_if_there(name: &str, server: Option<Server>) {
    match server {
        Some(server) => attack(server).await,
        None if std::env::var_os("ORCHESTRA_REQUIRE_SERVERS").is_some() => panic!("{name} is not installed"),
        None => eprintln!("SKIPPED: {name} is not installed"),
    }
}

async fn attack(server: Server) {
    let options = UpstreamOptions::default().with_ejection(0, Duration::ZERO, 0);
    let upstream = Upstream::new("attacked", Box::<RoundRobin>::default(), options);
    upstream.insert([Endpoint::new("server", server.address)]);
    let proxy = HttpProxy::new(Routes::to(upstream), HttpOptions::default(), &Tasks::new());
    let listening = proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let cases = corpus::cases();
    // Side by side, in groups: each case has its own connection to the proxy; those to the server are shared.
    let mut outcomes = Vec::new();
    for group in cases.chunks(16) {
        let sent = group.iter().map(|case| exchange(listening.address(), case));
        outcomes.extend(futures_util::future::join_all(sent).await);
        probe(listening.address(), &format!("/probe/{}", outcomes.len())).await;
    }
    let downgrades = downgrades::downgrades();
    let sent = downgrades.iter().map(|downgrade| exchange_http2(listening.address(), downgrade));
    let downgraded = futures_util::future::join_all(sent).await;
    let last = "/probe/last".to_owned();
    probe(listening.address(), &last).await;
    let seen = server.seen_up_to(&last).await;
    let strange: Vec<_> = seen
        .iter()
        .filter(|line| !["/case/", "/probe/", "/downgrade/"].iter().any(|known| line.contains(known)))
        .collect();
    assert!(strange.is_empty(), "the server was asked what nobody asked: {strange:?}");
    let mut served = 0;
    let mut wrong = Vec::new();
    for (case, answers) in cases.iter().zip(&outcomes) {
        if let Err(why) = judge(case, answers, &seen) {
            let bytes = String::from_utf8_lossy(&case.bytes);
            wrong.push(format!("{}: {why}\n  {bytes:?}\n  {answers:?}", case.name));
        }
        served += usize::from(answers.contains("HTTP/1.1 200"));
    }
    for (downgrade, good) in downgrades.iter().zip(&downgraded) {
        let target = downgrade.target();
        let came = seen.iter().filter(|line| line.split(' ').nth(1) == Some(&target)).count();
        if came > 1
            || (*good && came != 1)
            || (downgrade.refused && came > 0)
            || (!downgrade.refused && !good)
        {
            wrong.push(format!("HTTP/2, {}: {came} requests, answered well: {good}", downgrade.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(served * 10 > cases.len(), "hardly anything was let through: {served} of {}", cases.len());
    assert!(served * 10 < cases.len() * 9, "hardly anything was refused: {served} of {}", cases.len());
}

/// What the proxy says by itself, and what a server may say to a request that it does not like.
const STATUSES: [&str; 10] = ["200", "400", "404", "405", "408", "413", "417", "431", "501", "505"];

/// Holds what the client and the server saw against what the case is.
fn judge(case: &Case, answers: &str, seen: &[String]) -> Result<(), String> {
    let ends = |line: &String| line.split(' ').nth(1) == Some(&case.target());
    let came: Vec<&String> = seen.iter().filter(|line| ends(line)).collect();
    let heads = || answers.match_indices("HTTP/1.").filter_map(|(at, _)| answers.get(at + 9..at + 12));
    let statuses = || heads().filter(|status| *status != "100");
    let good = statuses().filter(|status| *status == "200").count();
    if let Some(strange) = statuses().find(|status| !STATUSES.contains(status)) {
        return Err(format!("it was answered with {strange}"));
    }
    match (came.len(), good) {
        (0, 0) | (1, 0 | 1) => {}
        (came, good) => return Err(format!("the server saw {came} requests, the client {good} answers")),
    }
    if answers.contains("/smuggled") {
        return Err("what was inside a body was answered".to_owned());
    }
    if case.refused && !came.is_empty() {
        return Err("it was let through".to_owned());
    }
    // A server that tells how long the body was agrees with the proxy about it.
    let told = came.first().and_then(|line| line.split(' ').nth(2)?.parse::<usize>().ok());
    match (told, case.body) {
        (Some(told), Some(length)) if told != length => {
            Err(format!("the server saw a body of {told} bytes, and not of {length}"))
        }
        _ => Ok(()),
    }
}

/// Sends a case and reads what is answered, until the proxy closes or has no more to say.
async fn exchange(proxy: SocketAddr, case: &Case) -> String {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    // The proxy may have refused it before all of it was sent.
    let _sent = stream.write_all(&case.bytes).await;
    let mut answers = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(Ok(read)) = tokio::time::timeout(QUIET, stream.read(&mut buffer)).await
        && read > 0
    {
        answers.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&answers).into_owned()
}

/// Sends a request of HTTP/2; whether it was answered with 200.
async fn exchange_http2(proxy: SocketAddr, downgrade: &Downgrade) -> bool {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let _sent = stream.write_all(&downgrade.bytes()).await;
    let mut came = Vec::new();
    let mut buffer = [0; 4096];
    let reading = async {
        while let Ok(read) = stream.read(&mut buffer).await
            && read > 0
        {
            came.extend_from_slice(&buffer[..read]);
            if downgrades::outcome(&came).0 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("it is answered or refused");
    downgrades::outcome(&came).1
}

/// Somebody else's request: it gets the answer to its own target.
async fn probe(proxy: SocketAddr, target: &str) {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains(&format!("GET {target}")),
        "{target}: {answer}"
    );
}
