//! What floods of HTTP/2 make the proxy keep. In a process of its own, whose memory nobody else moves.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may fail at any line")]

#[allow(dead_code, reason = "the other tests' floods need more kinds of frames")]
#[path = "../net/frames.rs"]
mod frames;

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use orchestra_core::engine::Tasks;
use orchestra_net::{HttpOptions, HttpProxy, Routes, Upstream};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use self::frames::{DATA, END_HEADERS, HEADERS, PING, SETTINGS, block, frame, preface};

/// How many clients flood at once, and how much each sends at most: 4 million bytes of pings want a quarter of a million answers.
const CLIENTS: usize = 2;
const FLOOD: usize = 4_000_000;

/// What all of them together may cost: a megabyte of bodies each, what heads and sockets take, and as much again for what the
/// allocator keeps. To keep an answer for each ping would cost tens of megabytes.
const MOST_KB: usize = 8 * 1024;

/// The most memory that this process has had, in KB.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Sends `piece` again and again, and reads nothing, until all is sent or the proxy has let the client go.
async fn flood(proxy: SocketAddr, begin: &[u8], piece: &[u8]) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(proxy).await.unwrap();
    stream.write_all(&[&preface()[..], begin].concat()).await.unwrap();
    for _ in 0..FLOOD / piece.len() {
        if stream.write_all(piece).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn floods_cost_no_more_than_windows_allow() {
    let options = HttpOptions::default()
        .with_write_timeout(Duration::from_millis(500))
        .with_header_timeout(Duration::from_secs(2));
    // Nobody takes the bodies: there is no endpoint.
    let proxy = HttpProxy::new(Routes::to(Upstream::named("none")), options, &Tasks::new());
    let listening = proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let post: &[(&[u8], &[u8])] =
        &[(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/")];
    let request = |stream| frame(HEADERS, END_HEADERS, stream, &block(post));
    let requests: Vec<u8> = (0..100).flat_map(|i| request(2 * i + 1)).collect();
    let bodies: Vec<u8> = (0..100).flat_map(|i| frame(DATA, 0, 2 * i + 1, &[b'x'; 1000])).collect();
    // As much as the connection's window takes, and more than that.
    let (fits, too_much) = ([&requests[..], &bodies.repeat(10)].concat(), bodies);
    let pings = frame(PING, 0, 0, &[1; 8]).repeat(1000);
    let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1]).repeat(1000);
    let floods = [
        ("pings", &[][..], &pings),
        ("settings", &[], &settings),
        ("bodies and pings", &fits, &pings),
        ("bodies", &fits, &too_much),
    ];
    for (what, begin, piece) in floods {
        let before = peak();
        let all = join_all((0..CLIENTS).map(|_| flood(listening.address(), begin, piece)));
        tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
        let cost = peak() - before;
        assert!(cost < MOST_KB, "{what} cost {cost} KB");
    }
}
