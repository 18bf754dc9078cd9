//! Connections that the proxy only carries: of TCP, and those that have changed their protocol.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use orchestra_core::balance::Endpoint;
use orchestra_core::engine::Tasks;
use orchestra_net::{HttpOptions, TcpOptions, TcpProxy, Upstream, UpstreamOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::backend::Backend;
use crate::client::Client;
use crate::proxy::{bind, proxy};
use crate::{soon, until};

/// A connection that has changed its protocol, and carries.
async fn upgraded(proxy: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let request =
        b"GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Upgrade\r\nupgrade: echo\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("the head", stream.read_u8()).await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("upgrade: echo"), "{head}");
    assert_eq!(echo(&mut stream, b"hello").await, b"HELLO");
    stream
}

async fn echo(stream: &mut TcpStream, said: &[u8]) -> Vec<u8> {
    stream.write_all(said).await.unwrap();
    let mut answer = vec![0; said.len()];
    soon("the echo", stream.read_exact(&mut answer)).await.unwrap();
    answer
}

fn in_flight(upstream: &Upstream) -> usize {
    upstream.status().iter().map(|endpoint| endpoint.in_flight).sum()
}

#[tokio::test]
async fn a_connection_can_change_its_protocol() {
    let a = Backend::start("a").await;
    let (upstream, listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let stream = upgraded(listening.address()).await;
    let pod = a.pod();
    let drain = upstream.drain(&pod);
    tokio::pin!(drain);
    assert!(futures_util::poll!(drain.as_mut()).is_pending(), "the connection counts");
    drop(stream);
    soon("the drain", drain).await;
}

#[tokio::test]
async fn a_connection_that_has_changed_its_protocol_keeps_its_place() {
    let a = Backend::start("a").await;
    let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let listening = bind(&upstream, HttpOptions::default().with_max_connections(1)).await;
    let mut first = upgraded(listening.address()).await;
    let mut second = Client::new(listening.address());
    let waits = second.get("/");
    tokio::pin!(waits);
    assert!(tokio::time::timeout(Duration::from_millis(50), waits.as_mut()).await.is_err());
    assert_eq!(echo(&mut first, b"still").await, b"STILL");
    drop(first);
    assert_eq!(soon("its turn", waits).await.1, "a");
}

#[tokio::test]
async fn the_shutdown_waits_for_a_connection_that_has_changed_its_protocol() {
    let a = Backend::start("a").await;
    let (upstream, listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let mut stream = upgraded(listening.address()).await;
    let ending = listening.shutdown();
    tokio::pin!(ending);
    assert!(futures_util::poll!(ending.as_mut()).is_pending());
    until("nobody listens", || std::net::TcpStream::connect(listening.address()).is_err()).await;
    assert!(futures_util::poll!(ending.as_mut()).is_pending());
    assert_eq!(echo(&mut stream, b"still").await, b"STILL");
    drop(stream);
    soon("the end", ending).await;
    assert_eq!(in_flight(&upstream), 0);
}

#[tokio::test]
async fn the_proxys_end_lets_it_go_on_for_the_grace_and_then_cuts_it_off() {
    let a = Backend::start("a").await;
    let upstream = Upstream::named("test");
    upstream.apply([a.endpoint()]);
    let (tasks, grace) = (Tasks::new(), Duration::from_millis(200));
    let options = HttpOptions::default().with_shutdown_grace(grace);
    let proxy =
        orchestra_net::HttpProxy::new(orchestra_net::Routes::to(Arc::clone(&upstream)), options, &tasks);
    let listening = proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let mut stream = upgraded(listening.address()).await;
    let began = tokio::time::Instant::now();
    // All that the proxy has, and not only what listens.
    tasks.cancel();
    soon("the end", tasks.shutdown()).await;
    assert!(began.elapsed() >= grace);
    assert_eq!(soon("the end", stream.read(&mut [0; 8])).await.unwrap_or(0), 0);
    assert_eq!(in_flight(&upstream), 0);
}

#[tokio::test]
async fn a_connection_on_which_nothing_moves_is_closed() {
    let a = Backend::start("a").await;
    let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let short = Some(Duration::from_millis(100));
    let http = bind(&upstream, HttpOptions::default().with_upgraded_idle_timeout(short)).await;
    let options = TcpOptions::default().with_idle_timeout(short);
    let tcp = TcpProxy::new(Arc::clone(&upstream), options, &Tasks::new());
    let tcp = tcp.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    for listening in [http, tcp] {
        // Of the second one the endpoint is a server that speaks HTTP, with which the change is agreed upon.
        let mut silent = upgraded(listening.address()).await;
        assert_eq!(in_flight(&upstream), 1);
        assert_eq!(soon("the end", silent.read(&mut [0; 8])).await.unwrap(), 0);
        until("its place is free", || in_flight(&upstream) == 0).await;
    }
}

#[tokio::test]
async fn tcp_connections_are_balanced_and_count_until_they_end() {
    let tasks = Tasks::new();
    let upstream = Upstream::named("echo");
    let mut endpoints = Vec::new();
    for name in ["one", "two"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        endpoints.push(Endpoint::new(name, listener.local_addr().unwrap()));
        let connections = tasks.clone();
        tasks.spawn("echo", async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                connections.spawn("echo-connection", async move {
                    let (mut read, mut write) = stream.split();
                    drop(tokio::io::copy(&mut read, &mut write).await);
                });
            }
        });
    }
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    upstream.apply(endpoints.iter().cloned().chain([Endpoint::new("dead", dead)]));
    let proxy = TcpProxy::new(Arc::clone(&upstream), TcpOptions::default(), &tasks);
    let listening = proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(listening.address()).await.unwrap();
        stream.write_all(b"ping").await.unwrap();
        let mut answer = [0; 4];
        soon("the echo", stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(&answer, b"ping");
        open.push(stream);
    }
    let counted = || upstream.status().iter().map(|endpoint| endpoint.in_flight).sum::<usize>();
    assert_eq!(counted(), 8);
    drop(open);
    until("none counts any more", || counted() == 0).await;
    tasks.shutdown().await;
}
