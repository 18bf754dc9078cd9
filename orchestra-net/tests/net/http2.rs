//! HTTP/2 on either side, and on both.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode, Version};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use orchestra_core::engine::Tasks;
use orchestra_net::{HealthCheck, HttpOptions, Probe, ServiceClient, UpstreamOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backend::Backend;
use crate::client::{Client, read};
use crate::frames::{END_HEADERS, END_STREAM, HEADERS, RST_STREAM, frame, get, preface};
use crate::proxy::{bind, proxy};
use crate::{soon, until};

async fn connect<B>(proxy: SocketAddr) -> SendRequest<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TcpStream::connect(proxy).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    Tasks::new().spawn("client", async move { drop(connection.await) });
    sender
}

fn request(method: &str, path: &str, body: &'static str) -> Request<Full<Bytes>> {
    let uri = format!("http://shop{path}");
    Request::builder().method(method).uri(uri).body(Full::from(body)).unwrap()
}

fn to(http2: bool) -> UpstreamOptions {
    UpstreamOptions::default().with_http2(http2)
}

#[tokio::test]
async fn many_requests_share_a_connection_on_both_sides() {
    for http2 in [false, true] {
        let a = Backend::start("a").await;
        let (upstream, listening) = proxy(&[&a], to(http2)).await;
        let client = connect(listening.address()).await;
        let all = (0..50).map(|_| {
            let mut client = client.clone();
            async move {
                read(client.send_request(request("POST", "/echo", "hello")).await.unwrap()).await.unwrap()
            }
        });
        for (status, body) in soon("the answers", join_all(all)).await {
            assert_eq!((status, body.as_str()), (StatusCode::OK, "hello"));
        }
        until("all is answered", || upstream.status()[0].in_flight == 0).await;
        let again = client.clone().send_request(request("GET", "/", "")).await.unwrap();
        assert_eq!(again.version(), Version::HTTP_2);
        assert_eq!(read(again).await.unwrap().1, "a");
        if http2 {
            // Each of the first ones may have opened one before there was one to share.
            let before = a.connections();
            for _ in 0..10 {
                read(client.clone().send_request(request("GET", "/", "")).await.unwrap()).await.unwrap();
            }
            assert_eq!(a.connections(), before);
        }
    }
}

#[tokio::test]
async fn the_head_is_the_same_whatever_is_spoken() {
    let a = Backend::start("a").await;
    for (http2, version) in [(false, "HTTP/1.1"), (true, "HTTP/2.0")] {
        let (_upstream, listening) = proxy(&[&a], to(http2)).await;
        let mut client = connect(listening.address()).await;
        let asked =
            Request::builder().uri("http://shop:81/head?x=1").header("cookie", "a=1").header("cookie", "b=2");
        let answer = client.send_request(asked.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
        let head = read(answer).await.unwrap().1;
        assert!(head.contains("cookie: a=1; b=2\n"), "{head}");
        assert!(
            head.contains("x-forwarded-host: shop:81\n") && head.contains("x-forwarded-for: 127.0.0.1\n"),
            "{head}"
        );
        let target = if http2 { "http://shop:81/head?x=1" } else { "/head?x=1" };
        assert!(head.starts_with(&format!("GET {target} {version}\n")), "{head}");
        // And a client of HTTP/1.1.
        let head = Client::new(listening.address()).get("/head").await.1;
        assert!(head.lines().next().unwrap().ends_with(version), "{head}");
    }
}

#[tokio::test]
async fn calls_of_grpc_stream_both_ways_and_end_with_trailers() {
    let a = Backend::start("a").await;
    for http2 in [false, true] {
        let (_upstream, listening) = proxy(&[&a], to(http2)).await;
        let mut client = connect(listening.address()).await;
        let (mut send, body) = Channel::<Bytes>::new(1);
        let call = Request::post("http://shop/trailers")
            .header("te", "trailers")
            .header("content-type", "application/grpc");
        let answer = client.send_request(call.body(body).unwrap());
        send.send_data(Bytes::from_static(b"one")).await.unwrap();
        let mut answer = soon("the head, before the request's end", answer).await.unwrap().into_body();
        let frame = soon("the first piece", answer.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "one");
        send.send_data(Bytes::from_static(b"two")).await.unwrap();
        let frame = soon("the second piece", answer.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "two");
        drop(send);
        let trailers = soon("trailers", answer.frame()).await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
    }
}

#[tokio::test]
async fn a_failure_is_told_to_grpc_as_it_tells_failures() {
    let options = to(true).with_endpoint_wait(Duration::from_millis(10));
    let (_upstream, listening) = proxy(&[], options).await;
    let mut client = connect(listening.address()).await;
    let mut call = request("POST", "/shop.Cart/Add", "");
    call.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc+proto"));
    let answer = client.send_request(call).await.unwrap();
    assert_eq!((answer.status(), &answer.headers()["grpc-status"]), (StatusCode::OK, &"14".parse().unwrap()));
    assert!(answer.headers()["grpc-message"].to_str().unwrap().contains("no ready endpoint"));
    let plain = client.send_request(request("GET", "/", "")).await.unwrap();
    assert_eq!(plain.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn limits_and_refusals_hold_for_http2() {
    let a = Backend::start("a").await;
    let (upstream, _listening) = proxy(&[&a], to(true)).await;
    let listening =
        bind(&upstream, HttpOptions::default().with_max_body(Some(10)).with_max_header_bytes(8192)).await;
    let mut client = connect(listening.address()).await;
    let answer = client.send_request(request("POST", "/", "more than ten")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let connect =
        Request::builder().method("CONNECT").uri("shop:443").body(Full::<Bytes>::default()).unwrap();
    assert_eq!(client.send_request(connect).await.unwrap().status(), StatusCode::NOT_IMPLEMENTED);
    let mut large = request("GET", "/", "");
    for i in 0..10 {
        let name = http::HeaderName::try_from(format!("x-{i}")).unwrap();
        large.headers_mut().insert(name, "x".repeat(1000).parse().unwrap());
    }
    assert_eq!(
        client.send_request(large).await.unwrap().status(),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    );
    assert_eq!(a.entered(), 0);
    assert_eq!(read(client.send_request(request("GET", "/", "")).await.unwrap()).await.unwrap().1, "a");
}

#[tokio::test]
async fn endpoints_that_share_connections_drain_and_die_like_others() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let (upstream, _listening) = proxy(&[&a, &b], to(true)).await;
    upstream.check(HealthCheck::new(Probe::Http("/".into())), &Tasks::new());
    let client = ServiceClient::new(std::sync::Arc::clone(&upstream));
    let ask = async || client.get("/").await.unwrap().into_body().text().await.unwrap();
    assert_ne!(ask().await, ask().await);
    let gated = client.clone();
    let waiting = async move { gated.get("/gated").await.unwrap().into_body().text().await.unwrap() };
    let (tell, told) = tokio::sync::oneshot::channel();
    let tasks = Tasks::new();
    tasks.spawn("waiting", async move { tell.send(waiting.await).unwrap() });
    until("one is in flight", || upstream.status().iter().any(|endpoint| endpoint.in_flight == 1)).await;
    let busy = upstream.status().into_iter().find(|endpoint| endpoint.in_flight == 1).unwrap().id;
    let (busy_one, other) = if busy.address == a.address { (&a, &b) } else { (&b, &a) };
    let pod = busy_one.pod();
    let draining = upstream.drain(&pod);
    tokio::pin!(draining);
    assert!(futures_util::poll!(draining.as_mut()).is_pending(), "one is in flight");
    busy_one.state.gate.add_permits(1);
    soon("the drain", draining).await;
    assert_eq!(told.await.unwrap(), busy_one.state.name);
    assert_eq!(ask().await, other.state.name);
    // Another one comes, and the old one dies with its connections.
    let c = Backend::start("c").await;
    upstream.insert([c.endpoint()]);
    other.kill().await;
    for _ in 0..4 {
        assert_eq!(ask().await, "c");
    }
}

#[tokio::test]
async fn a_client_that_breaks_off_frees_its_place() {
    let a = Backend::start("a").await;
    for http2 in [false, true] {
        let (upstream, listening) = proxy(&[&a], to(http2)).await;
        let mut client = TcpStream::connect(listening.address()).await.unwrap();
        let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &get("/gated"));
        client.write_all(&[preface(), head].concat()).await.unwrap();
        until("it is in flight", || upstream.status()[0].in_flight == 1).await;
        client.write_all(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())).await.unwrap();
        until("its place is free", || upstream.status()[0].in_flight == 0).await;
    }
}

#[tokio::test]
async fn an_answer_that_its_client_takes_nothing_of_is_ended_and_its_connection_goes_on() {
    let a = Backend::start("a").await;
    let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let listening =
        bind(&upstream, HttpOptions::default().with_write_timeout(Duration::from_millis(500))).await;
    let in_flight = || upstream.status().iter().map(|endpoint| endpoint.in_flight).sum::<usize>();
    // It answers pings, and opens no window.
    let stream = TcpStream::connect(listening.address()).await.unwrap();
    let mut deaf = h2::client::Builder::new();
    let (client, connection) = deaf.initial_window_size(0).handshake::<_, Bytes>(stream).await.unwrap();
    Tasks::new().spawn("client", async move { drop(connection.await) });
    let send = async |method: &str, path: &str| {
        let request = request(method, path, "").map(drop);
        client.clone().ready().await.unwrap().send_request(request, true).unwrap().0.await.unwrap()
    };
    let answers = soon("the heads", join_all((0..3).map(|_| send("GET", "/large")))).await;
    assert_eq!(in_flight(), 3, "none has been given up yet: the test would show nothing");
    for answer in answers {
        let error = soon("its end", answer.into_body().data()).await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error}");
    }
    until("all places are free", || in_flight() == 0).await;
    assert_eq!(soon("an answer", send("HEAD", "/")).await.status(), StatusCode::OK);
    assert_eq!(upstream.status()[0].state, orchestra_net::EndpointState::Ready, "it was the client's fault");
}

#[tokio::test]
async fn a_reset_ends_no_body_well_whatever_its_reason() {
    use crate::frames::{DATA, block};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (upstream, listening) = proxy(&[], UpstreamOptions::default()).await;
    upstream.apply([orchestra_core::balance::Endpoint::new("a", listener.local_addr().unwrap())]);
    let post: [(&[u8], &[u8]); 4] =
        [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"x")];
    for reason in [h2::Reason::CANCEL, h2::Reason::NO_ERROR] {
        let mut client = TcpStream::connect(listening.address()).await.unwrap();
        let head = frame(HEADERS, END_HEADERS, 1, &block(&post));
        client.write_all(&[preface(), head, frame(DATA, 0, 1, b"half")].concat()).await.unwrap();
        let (mut endpoint, _) = soon("the request", listener.accept()).await.unwrap();
        let mut came = Vec::new();
        while !came.ends_with(b"half\r\n") {
            soon("half of it", endpoint.read_buf(&mut came)).await.unwrap();
        }
        client.write_all(&frame(RST_STREAM, 0, 1, &u32::from(reason).to_be_bytes())).await.unwrap();
        came.clear();
        drop(soon("the end", endpoint.read_to_end(&mut came)).await);
        assert!(came.is_empty(), "{reason}: {:?}", String::from_utf8_lossy(&came));
    }
}

#[tokio::test]
async fn an_endpoint_that_opens_no_window_hears_that_its_client_has_left() {
    const WINDOW: usize = 65_535;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (upstream, listening) = proxy(&[], to(true)).await;
    upstream.apply([orchestra_core::balance::Endpoint::new("a", listener.local_addr().unwrap())]);
    let (tell, mut told) = tokio::sync::mpsc::channel(2);
    let tasks = Tasks::new();
    tasks.clone().spawn("endpoint", async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut answer))) = connection.accept().await {
            let tell = tell.clone();
            tasks.spawn("answer", async move {
                let mut send = answer.send_response(http::Response::new(()), false).unwrap();
                let mut left: usize = request.uri().path()[1..].parse().unwrap();
                let mut body = request.into_body();
                while left > 0 {
                    left -= body.data().await.unwrap().unwrap().len();
                }
                tell.send(None).await.unwrap();
                let reason = std::future::poll_fn(|cx| send.poll_reset(cx)).await.unwrap();
                tell.send(Some(reason)).await.unwrap();
            });
        }
    });
    // Within the endpoint's window, and more than fits in it.
    for length in [10, 3 * WINDOW] {
        let stream = TcpStream::connect(listening.address()).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        Tasks::new().spawn("client", async move { drop(connection.await) });
        let request = http::Request::post(format!("http://shop/{}", length.min(WINDOW))).body(()).unwrap();
        let (answer, mut body) = client.ready().await.unwrap().send_request(request, false).unwrap();
        body.send_data(Bytes::from(vec![b'x'; length]), false).unwrap();
        let _answer = soon("the head", answer).await.unwrap();
        assert_eq!(soon("what fits", told.recv()).await, Some(None));
        body.send_reset(h2::Reason::CANCEL);
        let heard = soon(&format!("that it has left, after {length} bytes"), told.recv()).await;
        assert_eq!(heard, Some(Some(h2::Reason::CANCEL)));
    }
}
