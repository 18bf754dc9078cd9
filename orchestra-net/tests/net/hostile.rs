//! Clients that mean no good.

use std::time::Duration;

use orchestra_net::{HttpOptions, UpstreamOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::client::{Client, raw};
use crate::proxy::{bind, proxy};
use crate::{PATIENCE, soon};

#[tokio::test]
async fn requests_that_could_be_read_in_two_ways_reach_nobody() {
    let a = Backend::start("a").await;
    let (_upstream, listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let body = "\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let refused = [
        format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked{body}"),
        format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nContent-Length: 5{body}"),
        format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\ncontent-length: 5{body}"),
        format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked{body}"),
        format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, identity{body}"),
        format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: identity, chunked{body}"),
        format!(
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked{body}"
        ),
        format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding : chunked{body}"),
        format!("POST / HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked{body}"),
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello".to_owned(),
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5, 5\r\n\r\nhello".to_owned(),
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: +5\r\n\r\nhello".to_owned(),
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0x5\r\n\r\nhello".to_owned(),
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\nhello".to_owned(),
        "GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: x, y\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: u@x\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET http://y/ HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: x\r\nx-folded: 1\r\n 2\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: x\r\nbad name: 1\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: x\r\n: 1\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: x\r\nx-null: \0\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: x\r\nx-bare: a\rb\r\n\r\n".to_owned(),
        "GET  / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        "GET / HTTP/1.2\r\nhost: x\r\n\r\n".to_owned(),
        "CONNECT x:443 HTTP/1.1\r\nhost: x:443\r\n\r\n".to_owned(),
    ];
    for request in refused {
        let smuggled = "GET /smuggled HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let before = a.entered();
        let answer =
            soon(&request, raw(listening.address(), format!("{request}{smuggled}").as_bytes())).await;
        let status = answer.get(9..12).unwrap_or_default();
        let first_only = || answer.matches("HTTP/1.").count() == 1;
        match status {
            // A refusal may leave the connection usable: then the next request on it is one of its own.
            "400" | "501" => {
                assert!(a.entered() <= before + usize::from(!first_only()), "{request:?}: {answer}")
            }
            other => panic!("{request:?} was answered with {other:?}: {answer}"),
        }
    }
}

#[tokio::test]
async fn chunked_requests_are_framed_anew_and_the_next_one_is_another() {
    let a = Backend::start("a").await;
    let (_upstream, listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let chunked = "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: Chunked\r\n\r\n\
                   5;ext=\"a\"\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answers = raw(listening.address(), format!("{chunked}{chunked}{last}").as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 3, "{answers}");
    assert_eq!(a.entered(), 3);
}

#[tokio::test]
async fn a_chunk_that_is_none_ends_the_request() {
    let a = Backend::start("a").await;
    let (_upstream, listening) = proxy(&[&a], UpstreamOptions::default()).await;
    for bad in ["zz\r\n", "fffffffffffffffff\r\n", "5\r\nhelloXX0\r\n\r\n", "-1\r\n"] {
        let request = format!(
            "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{bad}GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
        );
        let before = a.entered();
        let answer = soon(bad, raw(listening.address(), request.as_bytes())).await;
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{bad:?}: {answer}");
        assert!(a.entered() <= before + 1, "{bad:?} reached the backend as two");
    }
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_head_is_let_go() {
    let a = Backend::start("a").await;
    let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let limit = Duration::from_millis(100);
    let listening = bind(&upstream, HttpOptions::default().with_header_timeout(limit)).await;
    let mut slow = TcpStream::connect(listening.address()).await.unwrap();
    let started = Instant::now();
    slow.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let dripping = async {
        // One line after the other, never the last one.
        while slow.write_all(b"x-a: b\r\n").await.is_ok() {
            let mut byte = [0; 1];
            let read = tokio::time::timeout(limit / 10, slow.read(&mut byte)).await;
            if matches!(read, Ok(Ok(0) | Err(_))) {
                return;
            }
        }
    };
    soon("the end", dripping).await;
    assert!(started.elapsed() >= limit && started.elapsed() < PATIENCE / 2);
    assert_eq!(a.entered(), 0);
    assert_eq!(Client::new(listening.address()).get("/").await.1, "a", "others are served");
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_body_is_let_go_and_nobody_else_is_blamed() {
    let a = Backend::start("a").await;
    let options = UpstreamOptions::default().with_response_timeout(Duration::from_millis(50)).with_ejection(
        1,
        Duration::from_secs(600),
        100,
    );
    let (upstream, listening) = proxy(&[&a], options).await;
    // One that is kept to be sent again, and one that streams.
    for head in ["PUT / HTTP/1.1\r\ncontent-length: 10", "POST / HTTP/1.1\r\ncontent-length: 10"] {
        let request = format!("{head}\r\nhost: x\r\n\r\nhalf");
        let answer = soon(head, raw(listening.address(), request.as_bytes())).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    assert_eq!(upstream.status()[0].state, orchestra_net::EndpointState::Ready);
}

#[tokio::test]
async fn heads_have_a_limit() {
    let a = Backend::start("a").await;
    let (_upstream, listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let large = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(70 * 1024));
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(200));
    for request in [large, many] {
        let answer = raw(listening.address(), request.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    assert_eq!(a.entered(), 0);
}

#[tokio::test]
async fn connections_have_a_limit_and_the_next_one_waits() {
    let a = Backend::start("a").await;
    let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let listening = bind(&upstream, HttpOptions::default().with_max_connections(1)).await;
    let mut first = Client::new(listening.address());
    assert_eq!(first.get("/").await.1, "a");
    let mut second = Client::new(listening.address());
    let waits = second.get("/");
    tokio::pin!(waits);
    assert!(tokio::time::timeout(Duration::from_millis(50), waits.as_mut()).await.is_err());
    drop(first);
    assert_eq!(soon("its turn", waits).await.1, "a");
}
