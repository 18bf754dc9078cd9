//! TLS towards clients.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::LOCATION;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use orchestra_core::engine::Tasks;
use orchestra_net::{
    HttpOptions, HttpProxy, Identity, Listening, Redirect, Route, Routes, ServerTls, TlsError, Upstream,
    Workers,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::authority::Authority;
use crate::backend::Backend;
use crate::client::{raw, read};
use crate::lingering::{LARGE, send_then_read};
use crate::soon;

/// A proxy in front of `backend`, whose listener speaks TLS.
pub(super) async fn listener(backend: &Backend, tls: &ServerTls) -> Listening {
    let upstream = Upstream::named("test");
    upstream.apply([backend.endpoint()]);
    let proxy = HttpProxy::new(Routes::to(upstream), HttpOptions::default(), &Tasks::new());
    proxy.bind_tls(([127, 0, 0, 1], 0).into(), tls).await.unwrap()
}

/// Sends a GET over HTTP/1.1, and leaves the connection open until the answer was read.
async fn get(stream: TlsStream<TcpStream>, path: &str) -> String {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let tasks = Tasks::new();
    tasks.spawn("client", async move { drop(connection.await) });
    let request = Request::get(path).header("host", "shop.local").body(Full::<Bytes>::default()).unwrap();
    let answer = read(sender.send_request(request).await.unwrap()).await.unwrap().1;
    tasks.cancel();
    answer
}

/// The certificate that a server has shown.
pub(super) fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn both_protocols_are_spoken_and_endpoints_learn_that_it_was_tls() {
    let (authority, a) = (Authority::new(), Backend::start("a").await);
    let tls = ServerTls::new([authority.identity(&["shop.local"])]).unwrap();
    let listening = listener(&a, &tls).await;
    for alpn in [&["http/1.1"][..], &[]] {
        let stream = authority.connect(listening.address(), "shop.local", alpn).await.unwrap();
        let head = get(stream, "/head").await;
        assert!(head.contains("x-forwarded-proto: https\n"), "{head}");
    }
    let stream = authority.connect(listening.address(), "shop.local", &["http/1.1", "h2"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "the better one is chosen");
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let tasks = Tasks::new();
    tasks.spawn("client", async move { drop(connection.await) });
    for _ in 0..3 {
        let request = Request::get("https://shop.local/head").body(Full::<Bytes>::default()).unwrap();
        let head = read(sender.send_request(request).await.unwrap()).await.unwrap().1;
        assert!(head.contains("x-forwarded-proto: https\n") && head.contains("host: shop.local\n"), "{head}");
    }
    let none = authority.connect(listening.address(), "shop.local", &["spdy/3"]).await;
    assert!(none.is_err(), "a protocol that nobody speaks is none");
    soon("the end", listening.shutdown()).await;
}

#[tokio::test]
async fn a_large_body_passes_whole_and_a_worker_speaks_tls_too() {
    let (authority, a) = (Authority::new(), Backend::start("a").await);
    let tls = ServerTls::new([authority.identity(&["shop.local"])]).unwrap();
    let upstream = Upstream::named("test");
    upstream.apply([a.endpoint()]);
    let proxy = HttpProxy::new(Routes::to(upstream), HttpOptions::default(), &Tasks::new());
    let workers = Workers::start(2.try_into().unwrap()).unwrap();
    let listening = proxy.bind_tls_to(&workers, ([127, 0, 0, 1], 0).into(), &tls).await.unwrap();
    let stream = authority.connect(listening.address(), "shop.local", &[]).await.unwrap();
    assert_eq!(soon("the answer", get(stream, "/large")).await.len(), crate::backend::LARGE);
    soon("the end", listening.shutdown()).await;
    workers.shutdown().await;
}

#[tokio::test]
async fn certificates_are_chosen_by_name_and_replaced_under_open_connections() {
    let (authority, a) = (Authority::new(), Backend::start("a").await);
    let [shop, all, new] = [&["shop.local"][..], &["*.shop.local"], &["shop.local", "a.shop.local"]]
        .map(|names| authority.identity(names));
    let tls = ServerTls::new([shop, all]).unwrap();
    let listening = listener(&a, &tls).await;
    let connect = async |name: &str| authority.connect(listening.address(), name, &[]).await;
    let open = connect("shop.local").await.unwrap();
    connect("a.shop.local").await.unwrap();
    assert!(connect("other.local").await.is_err(), "the first one is shown, which is not for it");
    let before = shown(&open);
    tls.replace([new]).unwrap();
    let error = tls.replace([]).unwrap_err();
    assert!(matches!(error, TlsError::NothingToShow), "{error}");
    assert_ne!(shown(&connect("shop.local").await.unwrap()), before);
    connect("a.shop.local").await.unwrap();
    assert!(connect("b.shop.local").await.is_err());
    assert_eq!(get(open, "/").await, "a", "what was open goes on");
}

#[tokio::test]
async fn clients_that_never_finish_their_handshake_hold_up_nobody_and_are_let_go() {
    let (authority, a) = (Authority::new(), Backend::start("a").await);
    let tls = ServerTls::new([authority.identity(&["shop.local"])]).unwrap();
    let listening = listener(&a, &tls).await;
    let mut stuck = Vec::new();
    for begin in [&b""[..], &[22], &[22, 3, 1, 2, 0, 1, 0, 1, 252]] {
        for _ in 0..10 {
            let mut stream = TcpStream::connect(listening.address()).await.unwrap();
            stream.write_all(begin).await.unwrap();
            stuck.push(stream);
        }
    }
    let stream = authority.connect(listening.address(), "shop.local", &[]).await.unwrap();
    assert_eq!(get(stream, "/").await, "a");
    soon("the end, which waits for no handshake", listening.shutdown()).await;
    let impatient = listener(&a, &tls.clone().with_handshake_timeout(Duration::from_millis(20))).await;
    let mut stream = TcpStream::connect(impatient.address()).await.unwrap();
    stream.write_all(&[22]).await.unwrap();
    assert_eq!(soon("to be let go", stream.read(&mut [0; 1])).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn plain_text_is_told_that_tls_is_spoken_here() {
    let (authority, a) = (Authority::new(), Backend::start("a").await);
    let tls = ServerTls::new([authority.identity(&["shop.local"])]).unwrap();
    let listening = listener(&a, &tls).await;
    let request = format!("POST / HTTP/1.1\r\nhost: x\r\n\r\n{}", "x".repeat(10_000));
    let answer = soon("the answer", raw(listening.address(), request.as_bytes())).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("ask for https://"), "{answer}");
    let garbage = soon("the end", raw(listening.address(), &[0; 100])).await;
    assert!(!garbage.contains("HTTP"), "{garbage}");
    assert_eq!(a.entered(), 0);
}

#[tokio::test]
async fn a_redirect_keeps_the_scheme_that_was_asked_for() {
    let authority = Authority::new();
    let tls = ServerTls::new([authority.identity(&["shop.local"])]).unwrap();
    let routes = Routes::new().with(Route::redirect(Redirect::new(http::StatusCode::FOUND).host("b.local")));
    let proxy = HttpProxy::new(routes, HttpOptions::default(), &Tasks::new());
    let listening = proxy.bind_tls(([127, 0, 0, 1], 0).into(), &tls).await.unwrap();
    let stream = authority.connect(listening.address(), "shop.local", &[]).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let tasks = Tasks::new();
    tasks.spawn("client", async move { drop(connection.await) });
    let request = Request::get("/x").header("host", "shop.local").body(Full::<Bytes>::default()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.headers()[LOCATION], "https://b.local/x");
}

#[test]
fn what_is_wrong_with_keys_and_certificates_is_told_when_they_are_given() {
    let authority = Authority::new();
    let (one, other) = (authority.pair(&["a.local"]), authority.pair(&["b.local"]));
    let told = |chain: &str, key: &str| {
        let error = Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
        error.to_string()
    };
    assert!(told("", &one.key).contains("the certificate chain holds no certificate"));
    assert!(told(&one.key, &one.key).contains("the certificate chain holds no certificate"));
    assert!(told(&one.chain, &one.chain).contains("the private key holds no private key"));
    assert!(told(&one.chain, &other.key).contains("the private key can't be used with its certificate"));
    let broken = one.chain.replace("M", "!");
    assert!(told(&broken, &one.key).contains("the certificate chain is broken PEM"));
    let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(told(cut, &one.key).contains("holds a certificate that can't be used"));
    let nowhere = std::path::Path::new("/nonexistent/tls.pem");
    let error = Identity::from_files(nowhere, nowhere).unwrap_err();
    assert_eq!(error.to_string(), "can't read /nonexistent/tls.pem");
    let identity = Identity::from_pem((one.chain + &other.chain).as_bytes(), one.key.as_bytes()).unwrap();
    assert_eq!(identity.names(), ["a.local"]);
    assert!(!format!("{identity:?}").contains("key"));
}

#[tokio::test]
async fn a_client_that_is_refused_while_it_sends_reads_why() {
    let (authority, a) = (Authority::new(), Backend::start("a").await);
    let tls = ServerTls::new([authority.identity(&["shop.local"])]).unwrap();
    let upstream = Upstream::named("test");
    upstream.apply([a.endpoint()]);
    let options = HttpOptions::default().with_max_body(Some(1000));
    let proxy = HttpProxy::new(Routes::to(upstream), options, &Tasks::new());
    let listening = proxy.bind_tls(([127, 0, 0, 1], 0).into(), &tls).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nhost: shop.local\r\ncontent-length: {LARGE}\r\n\r\n");
    let mut stream = authority.connect(listening.address(), "shop.local", &["http/1.1"]).await.unwrap();
    let exchanged = async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&vec![b'x'; LARGE]).await?;
        stream.flush().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map(|_length| answer)
    };
    let answer = soon("the answer", exchanged).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // And one that speaks no TLS.
    let answer = send_then_read(listening.address(), &head).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}
