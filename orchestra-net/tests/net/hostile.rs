//! Clients that mean no good.

use std::time::Duration;

use orchestra_net::{HttpOptions, UpstreamOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::client::{Client, raw};
use crate::proxy::{bind, proxy};
use crate::{PATIENCE, soon, until};

/// One failure ejects.
fn strict() -> UpstreamOptions {
    UpstreamOptions::default().with_ejection(1, Duration::from_secs(600), 100)
}

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
async fn what_comes_after_trailers_is_looked_at_like_any_other() {
    let a = Backend::start("a").await;
    for http2 in [false, true] {
        let (_upstream, listening) = proxy(&[&a], UpstreamOptions::default().with_http2(http2)).await;
        let mut client = TcpStream::connect(listening.address()).await.unwrap();
        let head = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n";
        let first = format!("{head}trailer: x-sum\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n");
        client.write_all(first.as_bytes()).await.unwrap();
        let mut answer = vec![0; 1024];
        let length = soon("the answer", client.read(&mut answer)).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
        let second = format!("{head}content-length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        client.write_all(second.as_bytes()).await.unwrap();
        let length = soon("the answer", client.read(&mut answer)).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 400"), "{http2}");
    }
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
    let (upstream, _listening) = proxy(&[&a], strict()).await;
    let listening =
        bind(&upstream, HttpOptions::default().with_body_timeout(Duration::from_millis(50))).await;
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
    let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default()).await;
    for limit in [8 * 1024, 64 * 1024, 128 * 1024] {
        let listening = bind(&upstream, HttpOptions::default().with_max_header_bytes(limit)).await;
        let head = |length: usize| format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(length));
        let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(200));
        for request in [head(limit), many] {
            let before = a.entered();
            let answer = soon("431", raw(listening.address(), request.as_bytes())).await;
            assert!(answer.starts_with("HTTP/1.1 431"), "{limit}: {answer}");
            assert_eq!(a.entered(), before);
        }
        let fits = head(limit - 100).replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
        let answer = soon("200", raw(listening.address(), fits.as_bytes())).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{limit}: {answer}");
    }
}

#[tokio::test]
async fn bodies_have_a_limit_and_nobody_else_is_blamed() {
    let a = Backend::start("a").await;
    let (upstream, _listening) = proxy(&[&a], strict()).await;
    let options = HttpOptions::default().with_max_body(Some(10));
    let listening = bind(&upstream, options).await;
    let chunked = |body: &str| format!("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n{body}0\r\n\r\n");
    let cases = [
        ("PUT", "content-length: 11\r\n\r\nhello world".to_owned(), "413"),
        ("POST", "content-length: 99999999999999\r\n\r\n".to_owned(), "413"),
        ("POST", chunked("6\r\n world\r\n"), "413"),
        ("POST", chunked("5\r\nworld\r\n"), "200"),
        ("PUT", "content-length: 10\r\n\r\nhelloworld".to_owned(), "200"),
    ];
    for (method, rest, status) in cases {
        let request = format!("{method} / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{rest}");
        let answer = soon(status, raw(listening.address(), request.as_bytes())).await;
        assert_eq!(answer.get(9..12), Some(status), "{request:?}: {answer}");
    }
    assert_eq!(upstream.status()[0].state, orchestra_net::EndpointState::Ready);
}

#[tokio::test]
async fn a_body_whose_framing_is_none_is_the_clients_fault() {
    let a = Backend::start("a").await;
    let (upstream, listening) = proxy(&[&a], strict()).await;
    let request = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n";
    let answer = soon("400", raw(listening.address(), request.as_bytes())).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(upstream.status()[0].state, orchestra_net::EndpointState::Ready);
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_let_go() {
    let a = Backend::start("a").await;
    let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let options = HttpOptions::default().with_write_timeout(Duration::from_millis(50));
    let listening = bind(&upstream, options).await;
    let mut deaf = TcpStream::connect(listening.address()).await.unwrap();
    deaf.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    until("it is answered", || a.entered() == 1).await;
    until("its place is free", || upstream.status().iter().all(|endpoint| endpoint.in_flight == 0)).await;
    assert_eq!(upstream.status()[0].state, orchestra_net::EndpointState::Ready);
    assert_eq!(Client::new(listening.address()).get("/").await.1, "a", "others are served");
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

#[tokio::test]
async fn many_that_are_slow_in_every_way_hold_up_nobody() {
    let a = Backend::start("a").await;
    let (_upstream, listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let slow = [
        ("GET / HTTP/1.1\r\nhost: x\r\nx-more: ", 200),
        ("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 8192\r\n\r\nhello", 200),
        ("GET /large HTTP/1.1\r\nhost: x\r\n\r\n", 20),
    ];
    let mut clients = Vec::new();
    for (begun, count) in slow {
        for _ in 0..count {
            let mut client = TcpStream::connect(listening.address()).await.unwrap();
            client.write_all(begun.as_bytes()).await.unwrap();
            clients.push(client);
        }
    }
    let mut good = Client::new(listening.address());
    for _ in 0..100 {
        assert_eq!(soon("an answer", good.get("/")).await.1, "a");
    }
}
