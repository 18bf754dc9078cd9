//! Copies of requests whose bodies stream.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use orchestra_core::balance::{Endpoint, RoundRobin};
use orchestra_core::engine::Tasks;
use orchestra_net::{HttpOptions, HttpProxy, Listening, Route, Routes, Upstream, UpstreamOptions};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use crate::backend::Backend;
use crate::client::read;
use crate::{soon, until};

/// More than the sockets and windows between a client and a server that reads nothing hold.
const LARGE: usize = 32 << 20;

/// How much of it is sent at once: less than a mirror may be behind.
const PIECE: usize = 64 * 1024;

/// What has come of a copy.
#[derive(Default)]
struct Copy {
    head: HeaderMap,
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// Whether it ended well, once it has ended.
    whole: Option<bool>,
}

/// A server that takes down what comes. Dropping it kills it.
struct Mirror {
    address: SocketAddr,
    copy: Arc<Mutex<Copy>>,
    /// It reads a body when it gets a permit.
    gate: Arc<Semaphore>,
    http2: bool,
    tasks: Tasks,
}

impl Mirror {
    async fn start(http2: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (copy, gate, tasks) = (Arc::<Mutex<Copy>>::default(), Arc::new(Semaphore::new(1)), Tasks::new());
        let mirror = Self { address, copy: Arc::clone(&copy), gate: Arc::clone(&gate), http2, tasks };
        let tasks = mirror.tasks.clone();
        mirror.tasks.spawn("mirror", async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (copy, gate) = (Arc::clone(&copy), Arc::clone(&gate));
                let service =
                    service_fn(move |request| take_down(request, Arc::clone(&copy), Arc::clone(&gate)));
                tasks.spawn("mirror-connection", async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    drop(server.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        mirror
    }

    /// One that reads nothing until its gate opens.
    async fn start_closed(http2: bool) -> Self {
        let mirror = Self::start(http2).await;
        mirror.gate.try_acquire().unwrap().forget();
        mirror
    }

    fn upstream(&self) -> Arc<Upstream> {
        let options = UpstreamOptions::default().with_http2(self.http2);
        let upstream = Upstream::new("mirror", Box::<RoundRobin>::default(), options);
        upstream.insert([Endpoint::new("mirror", self.address)]);
        upstream
    }

    fn came(&self) -> usize {
        self.copy.lock().unwrap().data.len()
    }

    async fn ended(&self) -> std::sync::MutexGuard<'_, Copy> {
        until("the copy's end", || self.copy.lock().unwrap().whole.is_some()).await;
        self.copy.lock().unwrap()
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

/// What takes a copy down. Of HTTP/2 it is dropped where the stream is reset.
struct Taking(Arc<Mutex<Copy>>);

impl Drop for Taking {
    fn drop(&mut self) {
        self.0.lock().unwrap().whole.get_or_insert(false);
    }
}

async fn take_down(
    request: Request<Incoming>,
    copy: Arc<Mutex<Copy>>,
    gate: Arc<Semaphore>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let _taking = Taking(Arc::clone(&copy));
    copy.lock().unwrap().head = request.headers().clone();
    gate.acquire().await.unwrap().forget();
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Ok(Response::default()) };
        let mut copy = copy.lock().unwrap();
        match frame.into_data() {
            Ok(data) => copy.data.extend_from_slice(&data),
            Err(frame) => copy.trailers = frame.into_trailers().ok(),
        }
    }
    copy.lock().unwrap().whole = Some(true);
    Ok(Response::default())
}

/// What a client says of its request.
#[derive(Clone, Copy)]
struct Said {
    http2: bool,
    length: Option<usize>,
}

/// A request whose body goes on.
struct Upload {
    body: Sender<Bytes>,
    answer: oneshot::Receiver<(StatusCode, String)>,
    tasks: Tasks,
}

async fn upload(proxy: SocketAddr, said: Said, path: &str) -> Upload {
    let stream = TcpStream::connect(proxy).await.unwrap();
    let (body, receiver) = Channel::<Bytes>::new(1);
    let uri = if said.http2 { format!("http://shop{path}") } else { path.to_owned() };
    let mut request = Request::post(uri).header("trailer", "x-sum").body(receiver).unwrap();
    if !said.http2 {
        request.headers_mut().insert("host", "shop".parse().unwrap());
    }
    if let Some(length) = said.length {
        request.headers_mut().insert("content-length", length.into());
    }
    let (tell, answer) = oneshot::channel();
    let tasks = Tasks::new();
    let io = TokioIo::new(stream);
    if said.http2 {
        let executor = TokioExecutor::new();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        tasks.spawn("client", async move { drop(connection.await) });
        tasks.spawn("request", async move {
            drop(tell.send(read(sender.send_request(request).await.unwrap()).await.unwrap()));
        });
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tasks.spawn("client", async move { drop(connection.await) });
        tasks.spawn("request", async move {
            drop(tell.send(read(sender.send_request(request).await.unwrap()).await.unwrap()));
        });
    }
    Upload { body, answer, tasks }
}

/// A proxy that copies what it sends to `a`.
async fn mirrored(a: Arc<Upstream>, mirrors: &[&Mirror]) -> Listening {
    let route = mirrors.iter().fold(Route::to(a), |route, mirror| route.mirror(mirror.upstream()));
    let proxy = HttpProxy::new(Routes::new().with(route), HttpOptions::default(), &Tasks::new());
    proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap()
}

fn service(backend: &Backend, http2: bool) -> Arc<Upstream> {
    let options = UpstreamOptions::default().with_http2(http2);
    let upstream = Upstream::new("a", Box::<RoundRobin>::default(), options);
    upstream.insert([backend.endpoint()]);
    upstream
}

/// The `n`th piece.
fn piece(n: usize) -> Bytes {
    (0..PIECE).map(|i| ((n * 31 + i * 7 + i / 251) % 256) as u8).collect()
}

/// All ways in which a client, the service and its mirror can speak.
fn ways() -> impl Iterator<Item = (bool, bool, bool)> {
    (0..8).map(|i| (i & 1 > 0, i & 2 > 0, i & 4 > 0))
}

#[tokio::test]
async fn a_body_of_any_length_is_copied_while_it_passes() {
    const PIECES: usize = 20;
    let a = Backend::start("a").await;
    for (client, endpoint, mirror) in ways() {
        for length in [Some(PIECES * PIECE), None] {
            let mirror = Mirror::start(mirror).await;
            let listening = mirrored(service(&a, endpoint), &[&mirror]).await;
            let mut upload = upload(listening.address(), Said { http2: client, length }, "/echo").await;
            for n in 0..PIECES {
                upload.body.send_data(piece(n)).await.unwrap();
                until("the mirror has it before the next one", || mirror.came() == (n + 1) * PIECE).await;
            }
            drop(upload.body);
            let (status, _) = soon("the answer", upload.answer).await.unwrap();
            assert_eq!(status, StatusCode::OK);
            let copy = mirror.ended().await;
            assert_eq!(copy.whole, Some(true));
            assert!(copy.data == (0..PIECES).flat_map(piece).collect::<Vec<u8>>(), "it is the same");
            let said =
                copy.head.get("content-length").map(|length| length.to_str().unwrap().parse().unwrap());
            assert_eq!(said, length);
        }
    }
}

#[tokio::test]
async fn calls_that_stream_both_ways_are_copied_with_their_trailers() {
    let a = Backend::start("a").await;
    for (client, endpoint, mirror) in ways() {
        let mirrors = [Mirror::start(mirror).await, Mirror::start(!mirror).await];
        let listening = mirrored(service(&a, endpoint), &mirrors.each_ref()).await;
        let mut upload = upload(listening.address(), Said { http2: client, length: None }, "/trailers").await;
        for (n, message) in ["one", "two", "three"].into_iter().enumerate() {
            upload.body.send_data(Bytes::from(message)).await.unwrap();
            let length = ["one", "two", "three"][..=n].concat().len();
            until("both have the message", || mirrors.iter().all(|mirror| mirror.came() == length)).await;
        }
        let trailers =
            HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), "11".parse().unwrap())]);
        upload.body.send_trailers(trailers.clone()).await.unwrap();
        drop(upload.body);
        for mirror in &mirrors {
            let copy = mirror.ended().await;
            assert_eq!((copy.whole, &copy.data[..]), (Some(true), &b"onetwothree"[..]));
            assert_eq!(copy.trailers.as_ref(), Some(&trailers), "{client} {endpoint} {}", mirror.http2);
        }
        assert_eq!(soon("the answer", upload.answer).await.unwrap().0, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_mirror_that_stands_still_loses_its_copy_and_holds_up_nobody() {
    let a = Backend::start("a").await;
    for http2 in [false, true] {
        let (still, good) = (Mirror::start_closed(http2).await, Mirror::start(http2).await);
        let listening = mirrored(service(&a, false), &[&still, &good]).await;
        let mut upload = upload(listening.address(), Said { http2: false, length: Some(LARGE) }, "/").await;
        for n in 0..LARGE / PIECE {
            soon("room for the next piece", upload.body.send_data(piece(n))).await.unwrap();
            until("the other mirror has it", || good.came() == (n + 1) * PIECE).await;
        }
        assert_eq!(soon("the answer", upload.answer).await.unwrap(), (StatusCode::OK, "a".to_owned()));
        assert_eq!(good.ended().await.whole, Some(true));
        // It goes on only now.
        still.gate.add_permits(1);
        let copy = still.ended().await;
        assert!(copy.whole == Some(false) && copy.data.len() < LARGE, "{}", copy.data.len());
    }
}

#[tokio::test]
async fn a_mirror_that_is_not_there_or_dies_fails_no_request() {
    let (a, gone) = (Backend::start("a").await, Mirror::start(false).await);
    let dying = Mirror::start(false).await;
    gone.tasks.shutdown().await;
    let listening = mirrored(service(&a, false), &[&gone, &dying]).await;
    let mut upload = upload(listening.address(), Said { http2: false, length: None }, "/").await;
    for n in 0..100 {
        soon("room for the next piece", upload.body.send_data(piece(n))).await.unwrap();
        if n == 10 {
            until("the other one has some", || dying.came() > 0).await;
            dying.tasks.shutdown().await;
        }
    }
    drop(upload.body);
    assert_eq!(soon("the answer", upload.answer).await.unwrap(), (StatusCode::OK, "a".to_owned()));
}

#[tokio::test]
async fn a_client_that_breaks_off_breaks_off_the_copy() {
    let a = Backend::start("a").await;
    for (client, endpoint, mirror) in ways() {
        for length in [Some(2 * PIECE), None] {
            let mirror = Mirror::start(mirror).await;
            let listening = mirrored(service(&a, endpoint), &[&mirror]).await;
            let mut upload = upload(listening.address(), Said { http2: client, length }, "/").await;
            upload.body.send_data(piece(0)).await.unwrap();
            until("the mirror has the first half", || mirror.came() == PIECE).await;
            upload.tasks.shutdown().await;
            drop(upload.body);
            assert_eq!(mirror.ended().await.whole, Some(false));
        }
    }
}

#[tokio::test]
async fn a_copy_whose_client_takes_its_time_is_waited_for() {
    let (a, mirror) = (Backend::start("a").await, Mirror::start(false).await);
    let limit = Duration::from_millis(200);
    let mirrored_to = mirror.upstream();
    mirrored_to.set_options(UpstreamOptions::default().with_response_timeout(limit));
    let route = Route::to(service(&a, false)).mirror(mirrored_to);
    let proxy = HttpProxy::new(Routes::new().with(route), HttpOptions::default(), &Tasks::new());
    let listening = proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let mut upload = upload(listening.address(), Said { http2: false, length: None }, "/").await;
    upload.body.send_data(piece(0)).await.unwrap();
    until("the mirror has the first half", || mirror.came() == PIECE).await;
    // Three times as long as a mirror may be silent.
    tokio::time::sleep(3 * limit).await;
    upload.body.send_data(piece(1)).await.unwrap();
    drop(upload.body);
    let copy = mirror.ended().await;
    assert_eq!((copy.whole, copy.data.len()), (Some(true), 2 * PIECE));
}

#[tokio::test]
async fn a_mirror_that_is_silent_after_a_client_took_its_time_is_given_up() {
    let (a, mirror) = (Backend::start("a").await, Mirror::start_closed(false).await);
    let limit = Duration::from_millis(200);
    let mirrored_to = mirror.upstream();
    mirrored_to.set_options(UpstreamOptions::default().with_response_timeout(limit));
    let route = Route::to(service(&a, false)).mirror(Arc::clone(&mirrored_to));
    let proxy = HttpProxy::new(Routes::new().with(route), HttpOptions::default(), &Tasks::new());
    let listening = proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let mut upload = upload(listening.address(), Said { http2: false, length: None }, "/").await;
    upload.body.send_data(piece(0)).await.unwrap();
    until("the copy is on its way", || mirrored_to.status()[0].in_flight == 1).await;
    // Longer than a mirror may be silent: it is the client that is waited for.
    tokio::time::sleep(3 * limit).await;
    upload.body.send_data(piece(1)).await.unwrap();
    drop(upload.body);
    assert_eq!(soon("the answer", upload.answer).await.unwrap().0, StatusCode::OK);
    // Now it is the mirror, which is silent.
    until("the mirror is given up", || mirrored_to.status()[0].in_flight == 0).await;
}

#[tokio::test]
async fn a_copy_ends_soon_after_its_request_whatever_the_mirror_answers() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let (service, mirrored_to) = (service(&a, false), service(&b, false));
    mirrored_to.set_options(UpstreamOptions::default().with_response_timeout(Duration::from_millis(200)));
    let route = Route::to(Arc::clone(&service)).mirror(Arc::clone(&mirrored_to));
    let proxy = HttpProxy::new(Routes::new().with(route), HttpOptions::default(), &Tasks::new());
    let listening = proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let in_flight = |upstream: &Upstream| upstream.status()[0].in_flight;
    // Both begin an answer that does not end.
    let mut upload = upload(listening.address(), Said { http2: false, length: None }, "/half").await;
    upload.body.send_data(Bytes::from("x")).await.unwrap();
    drop(upload.body);
    until("both answer", || in_flight(&service) == 1 && in_flight(&mirrored_to) == 1).await;
    upload.tasks.shutdown().await;
    until("the service is left", || in_flight(&service) == 0).await;
    until("the mirror is left, too", || in_flight(&mirrored_to) == 0).await;
}
