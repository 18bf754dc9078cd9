//! A service's endpoint: a real HTTP server, which can be stopped in every way.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use orchestra_core::balance::Endpoint;
use orchestra_core::engine::Tasks;
use orchestra_core::model::Uid;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// The length of `/large`: more than all buffers between it and its reader hold.
pub(crate) const LARGE: usize = 32 << 20;

/// How many headers of 2,000 bytes the answer of `/wide` has.
pub(crate) const WIDE: usize = 60;

/// What a backend does and has done.
pub(crate) struct State {
    pub(crate) name: String,
    /// Requests whose handler was entered.
    pub(crate) entered: AtomicUsize,
    /// Those whose handler runs.
    pub(crate) inside: AtomicUsize,
    pub(crate) connections: AtomicUsize,
    /// Those that have not ended.
    pub(crate) open: AtomicUsize,
    /// How often each `x-serial` came in.
    pub(crate) serials: Mutex<BTreeMap<String, usize>>,
    /// `/gated` answers when it gets a permit.
    pub(crate) gate: Semaphore,
    /// What its gRPC health service says of `shop.Cart`.
    pub(crate) serving: AtomicBool,
}

/// A running backend. Dropping it kills it.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<State>,
    tasks: Tasks,
}

impl Backend {
    pub(crate) async fn start(name: &str) -> Self {
        Self::start_at(name, ([127, 0, 0, 1], 0).into()).await
    }

    pub(crate) async fn start_at(name: &str, address: SocketAddr) -> Self {
        Self::start_as(name, address, auto::Builder::new(TokioExecutor::new())).await
    }

    /// One whose connections are served so.
    pub(crate) async fn start_as(
        name: &str,
        address: SocketAddr,
        server: auto::Builder<TokioExecutor>,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            name: name.to_owned(),
            entered: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            serials: Mutex::default(),
            gate: Semaphore::new(0),
            serving: AtomicBool::new(true),
        });
        let tasks = Tasks::new();
        tasks.spawn("backend", accept(listener, Arc::clone(&state), server, tasks.clone()));
        Self { address, state, tasks }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::new(self.state.name.as_str(), self.address)
    }

    pub(crate) fn pod(&self) -> Uid {
        self.state.name.as_str().into()
    }

    pub(crate) fn entered(&self) -> usize {
        self.state.entered.load(Ordering::SeqCst)
    }

    pub(crate) fn inside(&self) -> usize {
        self.state.inside.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Closes its listener and every connection, wherever they are.
    pub(crate) async fn kill(&self) {
        self.tasks.shutdown().await;
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    state: Arc<State>,
    server: auto::Builder<TokioExecutor>,
    tasks: Tasks,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        state.connections.fetch_add(1, Ordering::SeqCst);
        state.open.fetch_add(1, Ordering::SeqCst);
        let (state, opened) = (Arc::clone(&state), Arc::clone(&state));
        let service = service_fn(move |request| {
            let state = Arc::clone(&state);
            async move { Ok::<_, Infallible>(answer(request, &state).await) }
        });
        let server = server.clone();
        tasks.spawn("backend-connection", async move {
            drop(server.serve_connection_with_upgrades(TokioIo::new(stream), service).await);
            opened.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

type Body = BoxBody<Bytes, hyper::Error>;

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// A handler that runs, until it is dropped.
struct Inside<'s>(&'s State);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn answer(request: Request<Incoming>, state: &Arc<State>) -> Response<Body> {
    state.inside.fetch_add(1, Ordering::SeqCst);
    let _inside = Inside(state);
    state.entered.fetch_add(1, Ordering::SeqCst);
    if let Some(serial) = request.headers().get("x-serial") {
        let serial = serial.to_str().unwrap().to_owned();
        *state.serials.lock().unwrap().entry(serial).or_default() += 1;
    }
    match request.uri().path() {
        "/gated" => {
            drop(request.into_body().collect().await);
            state.gate.acquire().await.unwrap().forget();
            Response::new(full(state.name.clone()))
        }
        "/never" => std::future::pending().await,
        "/half" => {
            // A body that promises more than it brings.
            let body = http_body_util::StreamBody::new(futures_util::stream::unfold(0, |sent| async move {
                if sent > 0 {
                    std::future::pending::<()>().await;
                }
                Some((Ok(http_body::Frame::data(Bytes::from_static(b"half"))), sent + 1))
            }));
            Response::builder().header("content-length", "8").body(BodyExt::boxed(body)).unwrap()
        }
        "/large" => Response::new(full(vec![b'x'; LARGE])),
        "/wide" => {
            // Few and long: HTTP/1.1 has no more than 100 of them.
            let mut response = Response::new(full(""));
            for i in 0..WIDE {
                let name = http::HeaderName::try_from(format!("x-{i}")).unwrap();
                response.headers_mut().insert(name, "x".repeat(2000).parse().unwrap());
            }
            response
        }
        "/echo" => Response::new(request.into_body().boxed()),
        "/fail" => status(StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        "/upgrade" => upgrade(request).await,
        "/trailers" => trailers(request),
        "/grpc.health.v1.Health/Check" => health(request, state).await,
        "/head" => Response::new(full(head(&request))),
        _ => {
            drop(request.into_body().collect().await);
            Response::new(full(state.name.clone()))
        }
    }
}

/// Sends back what comes, and in a trailer how it went, which is as the request says.
fn trailers(request: Request<Incoming>) -> Response<Body> {
    let header = |name| request.headers().get(name).cloned();
    let kind = header("content-type").unwrap_or(http::HeaderValue::from_static("text/plain"));
    let status = header("x-grpc-status").unwrap_or(http::HeaderValue::from_static("0"));
    let body = futures_util::stream::unfold(Some((request.into_body(), status)), |left| async move {
        let (mut body, status) = left?;
        match body.frame().await {
            Some(frame) => Some((frame, Some((body, status)))),
            None => {
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", status);
                Some((Ok(http_body::Frame::trailers(trailers)), None))
            }
        }
    });
    let body = http_body_util::StreamBody::new(body);
    let answer = Response::builder().header("trailer", "grpc-status").header("content-type", kind);
    answer.body(BodyExt::boxed(body)).unwrap()
}

/// As gRPC's health service answers.
async fn health(request: Request<Incoming>, state: &State) -> Response<Body> {
    assert_eq!(request.version(), http::Version::HTTP_2);
    let question = request.into_body().collect().await.unwrap().to_bytes();
    let serves = question.ends_with(b"shop.Cart") && state.serving.load(Ordering::SeqCst);
    let answer: &[u8] = if serves { b"\0\0\0\0\x02\x08\x01" } else { b"\0\0\0\0\x02\x08\x02" };
    let trailers = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        http::HeaderValue::from_static("0"),
    )]);
    let body = Full::new(Bytes::from_static(answer)).map_err(|never| match never {});
    let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
    Response::builder().header("content-type", "application/grpc").body(BodyExt::boxed(body)).unwrap()
}

fn status(status: StatusCode, text: &'static str) -> Response<Body> {
    Response::builder().status(status).body(full(text)).unwrap()
}

/// The request's head as it came here.
fn head(request: &Request<Incoming>) -> String {
    let mut text = format!("{} {} {:?}\n", request.method(), request.uri(), request.version());
    for (name, value) in request.headers() {
        text += &format!("{name}: {}\n", value.to_str().unwrap());
    }
    text
}

/// Agrees to `echo` and to nothing else; then sends back what comes, in upper case.
async fn upgrade(mut request: Request<Incoming>) -> Response<Body> {
    if request.headers().get("upgrade").is_none_or(|protocol| protocol != "echo") {
        return status(StatusCode::BAD_REQUEST, "only echo");
    }
    let upgrading = hyper::upgrade::on(&mut request);
    let tasks = Tasks::new();
    tasks.spawn("echo", async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = TokioIo::new(upgrading.await.unwrap());
        let mut buffer = [0; 64];
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(n) => stream.write_all(&buffer[..n].to_ascii_uppercase()).await.unwrap(),
            }
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("connection", "upgrade")
        .header("upgrade", "echo")
        .body(full(""))
        .unwrap()
}
