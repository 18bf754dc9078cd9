//! Clients that flood a connection with cheap frames: others are served, and the flood ends.

use std::net::SocketAddr;
use std::time::Duration;

use orchestra_net::{HttpOptions, UpstreamOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backend::Backend;
use crate::client::Client;
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, frame, get,
    parse, preface,
};
use crate::proxy::{bind, proxy};
use crate::{soon, until};

/// Far more than anybody needs.
const ROUNDS: u32 = 20_000;

/// Sends what `round` makes, until all is sent or the proxy takes no more. Returns whether it let the client go.
async fn flood(proxy: SocketAddr, round: impl Fn(u32) -> Vec<u8> + Send + Sync) -> bool {
    let (mut reading, mut writing) = TcpStream::connect(proxy).await.unwrap().into_split();
    writing.write_all(&preface()).await.unwrap();
    let sending = async {
        for i in 0..ROUNDS {
            if writing.write_all(&round(i)).await.is_err() {
                return true;
            }
        }
        // What it says to all that comes after this.
        drop(writing.write_all(&frame(PING, 0, 0, &[9; 8])).await);
        false
    };
    let answers = async {
        let mut came = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match reading.read(&mut buffer).await {
                Ok(0) | Err(_) => return true,
                Ok(n) => came.extend_from_slice(&buffer[..n]),
            }
            let frames = parse(&came);
            if frames.iter().any(|(kind, ..)| *kind == GOAWAY) {
                return true;
            }
            if frames.iter().any(|(kind, _, payload)| *kind == PING && payload[..] == [9; 8]) {
                return false;
            }
        }
    };
    let (refused, let_go) = soon("the end of a flood", futures_util::future::join(sending, answers)).await;
    refused || let_go
}

/// Floods while another client asks; all of its requests are answered.
async fn beside_others(round: impl Fn(u32) -> Vec<u8> + Send + Sync) -> (bool, usize) {
    let a = Backend::start("a").await;
    let (upstream, listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let mut good = Client::new(listening.address());
    let asking = async {
        for _ in 0..50 {
            assert_eq!(soon("an answer", good.get("/")).await.1, "a");
        }
    };
    let (let_go, ()) = futures_util::future::join(flood(listening.address(), round), asking).await;
    until("nothing is left of it", || upstream.status().iter().all(|endpoint| endpoint.in_flight == 0)).await;
    (let_go, a.entered() - 50)
}

fn stream(i: u32) -> u32 {
    2 * i + 1
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    let (let_go, entered) = beside_others(|i| {
        let reset = frame(RST_STREAM, 0, stream(i), &8_u32.to_be_bytes());
        [frame(HEADERS, END_HEADERS | END_STREAM, stream(i), &get("/never")), reset].concat()
    })
    .await;
    assert!(let_go);
    assert!(entered < 1000, "{entered} requests went through to the endpoint");
}

#[tokio::test]
async fn a_head_without_end_ends_the_connection() {
    let (let_go, entered) = beside_others(|i| match i {
        0 => frame(HEADERS, END_STREAM, 1, &get("/")),
        _ => frame(CONTINUATION, 0, 1, &crate::frames::block(&[(b"x", b"y")])),
    })
    .await;
    assert!(let_go);
    assert_eq!(entered, 0);
}

#[tokio::test]
async fn empty_data_settings_and_pings_hold_up_nobody_else() {
    // Each may end the connection or be put up with.
    beside_others(|i| match i {
        0 => frame(HEADERS, END_HEADERS, 1, &get("/never")),
        _ => frame(DATA, 0, 1, &[]),
    })
    .await;
    beside_others(|_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1])).await;
    beside_others(|_| frame(PING, 0, 0, &[1; 8])).await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_asked_is_ended() {
    let a = Backend::start("a").await;
    let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let limit = Duration::from_millis(50);
    let listening = bind(&upstream, HttpOptions::default().with_header_timeout(limit)).await;
    let mut silent = TcpStream::connect(listening.address()).await.unwrap();
    // The head of a request that never ends.
    silent.write_all(&[preface(), frame(HEADERS, 0, 1, &get("/"))].concat()).await.unwrap();
    let mut came = Vec::new();
    soon("the end", silent.read_to_end(&mut came)).await.unwrap();
    assert_eq!(a.entered(), 0);
}
