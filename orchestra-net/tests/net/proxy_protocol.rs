//! Who a connection comes from, as proxies tell each other.

use std::net::SocketAddr;
use std::time::Duration;

use orchestra_core::balance::{Endpoint, RoundRobin};
use orchestra_core::engine::Tasks;
use orchestra_net::{HttpOptions, ProxyProtocol, TcpOptions, TcpProxy, Upstream, UpstreamOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::backend::Backend;
use crate::client::raw;
use crate::proxy::{bind, proxy};
use crate::soon;

const REQUEST: &str = "GET /head HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_client_is_who_the_proxy_before_says() {
    let a = Backend::start("a").await;
    let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let options =
        HttpOptions::default().with_proxy_protocol(true).with_header_timeout(Duration::from_secs(5));
    let listening = bind(&upstream, options).await;
    let v2 = |command: u8, family: u8, addresses: &[u8]| {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, addresses].concat()
    };
    let extra = [&[192, 0, 2, 9, 10, 0, 0, 1, 1, 2, 3, 4][..], &[0x04, 0, 200], &[0; 200]].concat();
    for (header, client) in [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4000 80\r\n".to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 4000 80\r\n".to_vec(), "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2(0x21, 0x11, &[192, 0, 2, 8, 10, 0, 0, 1, 1, 2, 3, 4]), "192.0.2.8"),
        (v2(0x21, 0x11, &extra), "192.0.2.9"),
        (v2(0x20, 0x00, &[]), "127.0.0.1"),
    ] {
        // In one piece, and byte by byte.
        let all = [&header[..], REQUEST.as_bytes()].concat();
        let whole = soon("an answer", raw(listening.address(), &all)).await;
        let mut stream = TcpStream::connect(listening.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in &all {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut pieces = String::new();
        soon("an answer", stream.read_to_string(&mut pieces)).await.unwrap();
        for answer in [whole, pieces] {
            assert!(answer.contains(&format!("x-forwarded-for: {client}\n")), "{header:?}: {answer}");
        }
    }
    let before = a.entered();
    for other in [REQUEST, "PROXY TCP4 x y 1 2\r\n", "PROXY TCP4 192.0.2.7"] {
        let mut stream = TcpStream::connect(listening.address()).await.unwrap();
        stream.write_all(other.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        drop(soon("the end", stream.read_to_end(&mut answer)).await);
        assert!(answer.is_empty(), "{other:?}");
    }
    assert_eq!(a.entered(), before);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_let_go() {
    let (upstream, _listening) = proxy(&[], UpstreamOptions::default()).await;
    let options =
        HttpOptions::default().with_proxy_protocol(true).with_header_timeout(Duration::from_millis(50));
    let listening = bind(&upstream, options).await;
    let mut silent = TcpStream::connect(listening.address()).await.unwrap();
    silent.write_all(b"PROXY ").await.unwrap();
    let mut answer = Vec::new();
    drop(soon("the end", silent.read_to_end(&mut answer)).await);
    assert!(answer.is_empty());
}

#[tokio::test]
async fn a_tcp_proxy_tells_the_next_one_whom_it_has_heard_of() {
    let a = Backend::start("a").await;
    let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let inner = bind(&upstream, HttpOptions::default().with_proxy_protocol(true)).await;
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        // Two in a row: the second takes a header in and gives one on.
        let mut next = inner.address();
        let mut chain = Vec::new();
        for accepts in [true, false] {
            let upstream = Upstream::new("tcp", Box::<RoundRobin>::default(), UpstreamOptions::default());
            upstream.insert([Endpoint::new("next", next)]);
            let options = TcpOptions::default().with_proxy_protocol(accepts).with_send_proxy(Some(version));
            let tcp = TcpProxy::new(upstream, options, &Tasks::new());
            let listening = tcp.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
            next = listening.address();
            chain.push(listening);
        }
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 77], 0))).unwrap();
        let mut stream = socket.connect(next).await.unwrap();
        stream.write_all(REQUEST.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.contains("x-forwarded-for: 127.0.0.77\n"), "{version:?}: {answer}");
    }
}
