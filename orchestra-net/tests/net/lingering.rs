//! Clients that are answered while they still send.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use orchestra_net::{HttpOptions, UpstreamOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::client::Client;
use crate::proxy::{bind, proxy};
use crate::{PATIENCE, soon, until};

/// How much is sent: more than the sockets between a client and one who reads nothing hold.
pub(crate) const LARGE: usize = 12 << 20;

/// Sends all of a request, and only then reads the answer, as simple clients do.
pub(crate) async fn send_then_read(proxy: SocketAddr, head: &str) -> String {
    let mut request = head.as_bytes().to_vec();
    request.resize(head.len() + LARGE, b'x');
    let exchanged = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(proxy)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&request)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    });
    soon(&format!("the answer to {head:?}"), exchanged)
        .await
        .unwrap()
        .unwrap_or_else(|error| panic!("{head:?}: {error}"))
}

fn post(rest: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: x\r\n{rest}")
}

#[tokio::test]
async fn a_client_that_is_refused_while_it_sends_reads_why() {
    let a = Backend::start("a").await;
    let (upstream, anything) = proxy(&[&a], UpstreamOptions::default()).await;
    let (_empty, nowhere) =
        proxy(&[], UpstreamOptions::default().with_endpoint_wait(Duration::from_millis(10))).await;
    let small = bind(&upstream, HttpOptions::default().with_max_body(Some(1000))).await;
    let length = format!("content-length: {LARGE}\r\n\r\n");
    let chunked = format!("transfer-encoding: chunked\r\n\r\n{LARGE:x}\r\n");
    let cases = [
        (&small, post(&length), "413"),
        (&small, post(&chunked), "413"),
        (&small, post(&chunked).replace("POST", "PUT"), "413"),
        (&nowhere, post(&length), "503"),
        // What the parser refuses.
        (&anything, post("x: "), "431"),
        (&anything, post(&format!("bad name: 1\r\n{length}")), "400"),
        // A chunk that is none, with much behind it.
        (&anything, post("transfer-encoding: chunked\r\n\r\nzz\r\n"), "400"),
    ];
    for (listening, head, status) in cases {
        let answer = send_then_read(listening.address(), &head).await;
        assert_eq!(answer.get(9..12), Some(status), "{head:?}: {answer}");
    }
}

#[tokio::test]
async fn one_that_still_sends_holds_its_place_and_up_no_shutdown() {
    let a = Backend::start("a").await;
    let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let grace = Duration::from_millis(100);
    let options =
        HttpOptions::default().with_max_body(Some(1000)).with_max_connections(1).with_shutdown_grace(grace);
    let listening = bind(&upstream, options).await;
    let mut client = TcpStream::connect(listening.address()).await.unwrap();
    let head = post(&format!("content-length: {LARGE}\r\n\r\n"));
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("the answer, and its end", client.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let mut other = Client::new(listening.address());
    assert!(tokio::time::timeout(grace, other.get("/")).await.is_err(), "its place is taken");
    let began = Instant::now();
    soon("the shutdown", listening.shutdown()).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_connection_that_ends_well_is_closed_at_once() {
    let a = Backend::start("a").await;
    let (_upstream, listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let bodies =
        ["content-length: 5\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"];
    for method in ["POST", "PUT"] {
        for body in bodies {
            let mut client = TcpStream::connect(listening.address()).await.unwrap();
            let request = post(&format!("connection: close\r\n{body}")).replace("POST", method);
            client.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            soon("the answer", client.read_to_string(&mut answer)).await.unwrap();
            assert!(answer.ends_with('a'), "{answer}");
            // The other side has closed, and not only ended what it says: so this is answered with a reset.
            let refused = async {
                while client.write_all(b"x").await.is_ok() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(1), refused).await.expect("it is closed");
        }
    }
}

#[tokio::test]
async fn one_that_still_sends_after_a_shutdown_has_begun_has_what_is_left_of_its_time() {
    let grace = Duration::from_secs(2);
    let wait = Duration::from_millis(1500);
    let (upstream, _listening) = proxy(&[], UpstreamOptions::default().with_endpoint_wait(wait)).await;
    let options = HttpOptions::default().with_shutdown_grace(grace).with_idle_grace(Duration::ZERO);
    let listening = bind(&upstream, options).await;
    let mut client = TcpStream::connect(listening.address()).await.unwrap();
    client.write_all(post(&format!("content-length: {LARGE}\r\n\r\n")).as_bytes()).await.unwrap();
    until("it waits for an endpoint", || upstream.describe().waiting == 1).await;
    let began = Instant::now();
    // It is answered when most of the time is over.
    soon("the shutdown", listening.shutdown()).await;
    assert!((wait..grace + wait / 2).contains(&began.elapsed()), "{:?}", began.elapsed());
}
