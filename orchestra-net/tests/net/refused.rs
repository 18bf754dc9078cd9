//! Requests that an endpoint of HTTP/2 says it has done nothing with, by a server that says so, and by nginx.

use std::collections::VecDeque;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request, Response, StatusCode};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use orchestra_core::balance::Endpoint;
use orchestra_core::engine::Tasks;
use orchestra_net::{EndpointState, UpstreamOptions};
use tokio::net::{TcpListener, TcpStream};

use crate::client::{Client, read};
use crate::proxy::proxy;
use crate::{soon, until};

/// What a server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// Answers with the request's body.
    Echo,
    /// Resets it with `REFUSED_STREAM`.
    Refuse,
    /// The same, after its body has come.
    ReadAndRefuse,
    /// Resets it with another reason, after which nobody knows what was done.
    Cancel,
}

/// A server that does these things with the requests that come, one after another, then echoes; what it has done with how
/// many, and how many connections it has had.
struct Server {
    endpoint: Endpoint,
    done: Arc<Mutex<Vec<Does>>>,
    connections: Arc<AtomicUsize>,
    tasks: Tasks,
}

impl Server {
    async fn start(name: &str, does: impl IntoIterator<Item = Does>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            endpoint: Endpoint::new(name, listener.local_addr().unwrap()),
            done: Arc::default(),
            connections: Arc::default(),
            tasks: Tasks::new(),
        };
        let plan = Arc::new(Mutex::new(does.into_iter().collect::<VecDeque<_>>()));
        let (done, connections, tasks) =
            (Arc::clone(&server.done), Arc::clone(&server.connections), server.tasks.clone());
        server.tasks.spawn("server", async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (plan, done, group) = (Arc::clone(&plan), Arc::clone(&done), tasks.clone());
                tasks.spawn("server-connection", async move {
                    serve(stream, &plan, &done, &group).await;
                });
            }
        });
        server
    }

    fn done(&self, what: Does) -> usize {
        self.done.lock().unwrap().iter().filter(|done| **done == what).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

async fn serve(stream: TcpStream, plan: &Mutex<VecDeque<Does>>, done: &Mutex<Vec<Does>>, tasks: &Tasks) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut answer))) = connection.accept().await {
        let does = plan.lock().unwrap().pop_front().unwrap_or(Does::Echo);
        done.lock().unwrap().push(does);
        match does {
            Does::Refuse => answer.send_reset(h2::Reason::REFUSED_STREAM),
            Does::Cancel => answer.send_reset(h2::Reason::CANCEL),
            Does::Echo | Does::ReadAndRefuse => drop(tasks.spawn("answer", async move {
                let mut body = request.into_body();
                let mut whole = Vec::new();
                while let Some(Ok(piece)) = body.data().await {
                    body.flow_control().release_capacity(piece.len()).unwrap();
                    whole.extend_from_slice(&piece);
                }
                if does == Does::ReadAndRefuse {
                    return answer.send_reset(h2::Reason::REFUSED_STREAM);
                }
                let mut send = answer.send_response(Response::new(()), false).unwrap();
                send.send_data(whole.into(), true).unwrap();
            })),
        }
    }
}

/// Options by which a failure ejects nobody.
fn options() -> UpstreamOptions {
    UpstreamOptions::default().with_http2(true).with_ejection(0, Duration::ZERO, 0)
}

#[tokio::test]
async fn what_was_refused_is_sent_again_whatever_its_method() {
    for method in [Method::GET, Method::POST] {
        let server = Server::start("server", [Does::Echo, Does::Refuse, Does::Refuse]).await;
        let other = Server::start("other", []).await;
        let (upstream, listening) = proxy(&[], options()).await;
        upstream.apply([server.endpoint.clone()]);
        let mut client = Client::new(listening.address());
        assert_eq!(
            client.call(method.clone(), "/", "one").await.unwrap(),
            (StatusCode::OK, "one".to_owned())
        );
        // Alone it is asked again after a while; with another one, that one is.
        assert_eq!(
            client.call(method.clone(), "/", "two").await.unwrap(),
            (StatusCode::OK, "two".to_owned())
        );
        assert_eq!((server.done(Does::Refuse), server.done(Does::Echo)), (2, 2), "{method}");
        let refusing = Server::start("refusing", [Does::Refuse; 100]).await;
        upstream.apply([refusing.endpoint.clone(), other.endpoint.clone()]);
        for _ in 0..6 {
            let answered = client.call(method.clone(), "/", "three").await.unwrap();
            assert_eq!(answered, (StatusCode::OK, "three".to_owned()));
        }
        assert_eq!(other.done(Does::Echo), 6);
        assert!(refusing.done(Does::Refuse) >= 3, "it was tried");
    }
}

#[tokio::test]
async fn a_reset_for_any_other_reason_is_not_sent_again_where_that_could_do_harm() {
    let server = Server::start("server", [Does::Cancel]).await;
    let (upstream, listening) = proxy(&[], options()).await;
    upstream.apply([server.endpoint.clone()]);
    let (status, text) = Client::new(listening.address()).call(Method::POST, "/", "x").await.unwrap();
    assert_eq!(status, StatusCode::BAD_GATEWAY, "{text}");
    assert_eq!((server.done(Does::Cancel), server.done(Does::Echo)), (1, 0));
}

async fn connect<B>(address: std::net::SocketAddr) -> SendRequest<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    Tasks::new().spawn("client", async move { drop(connection.await) });
    sender
}

#[tokio::test]
async fn a_call_whose_body_has_passed_already_is_sent_again_from_its_begin() {
    let server = Server::start("server", [Does::ReadAndRefuse, Does::Refuse]).await;
    let (upstream, listening) = proxy(&[], options()).await;
    upstream.apply([server.endpoint.clone()]);
    let mut client = connect::<Channel<Bytes>>(listening.address()).await;
    // As gRPC sends it: its length is not said.
    let (mut send, body) = Channel::<Bytes>::new(1);
    let answer = client.send_request(Request::post("http://shop/cart.Cart/Add").body(body).unwrap());
    for piece in ["one ", "two ", "three"] {
        soon("room", send.send_data(Bytes::from(piece))).await.unwrap();
    }
    drop(send);
    let answered = soon("the answer", answer).await.unwrap();
    assert_eq!(read(answered).await.unwrap(), (StatusCode::OK, "one two three".to_owned()));
    assert_eq!((server.done(Does::ReadAndRefuse), server.done(Does::Refuse)), (1, 1));
}

#[tokio::test]
async fn a_call_that_is_too_long_to_be_kept_is_not_sent_again_half() {
    let server = Server::start("server", [Does::ReadAndRefuse]).await;
    let (upstream, listening) = proxy(&[], options()).await;
    upstream.apply([server.endpoint.clone()]);
    let mut client = connect::<Full<Bytes>>(listening.address()).await;
    let long = Bytes::from(vec![b'x'; 100_000]);
    let request = Request::post("http://shop/").body(Full::new(long.clone())).unwrap();
    let answered = soon("the answer", client.send_request(request)).await.unwrap();
    assert_eq!(answered.status(), StatusCode::BAD_GATEWAY);
    let request = Request::post("http://shop/").body(Full::new(long.clone())).unwrap();
    let answered = soon("the answer", client.send_request(request)).await.unwrap();
    assert_eq!(answered.into_body().collect().await.unwrap().to_bytes(), long, "it passes whole");
}

/// Serves connections by hand: the first `streams` requests on each get an empty answer, then comes a `GOAWAY` that names the
/// last of them, whatever was sent meanwhile. Counts the requests that it answered.
async fn going_away(streams: u32, tasks: &Tasks) -> (Endpoint, Arc<AtomicUsize>) {
    use crate::frames::{END_HEADERS, END_STREAM, GOAWAY, HEADERS, SETTINGS, frame, parse};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::new("going-away", listener.local_addr().unwrap());
    let answered = Arc::<AtomicUsize>::default();
    let (count, group) = (Arc::clone(&answered), tasks.clone());
    tasks.spawn("going-away", async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let count = Arc::clone(&count);
            group.spawn("going-away-connection", async move {
                stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
                let (mut came, mut seen, mut last) = (Vec::new(), 0, 0);
                while seen < streams {
                    if stream.read_buf(&mut came).await.unwrap_or(0) == 0 {
                        return;
                    }
                    let heads = parse(came.get(24..).unwrap_or_default());
                    let heads = heads.into_iter().filter(|(kind, ..)| *kind == HEADERS);
                    for (_, id, _) in heads.skip(seen as usize).take((streams - seen) as usize) {
                        (seen, last) = (seen + 1, id);
                        count.fetch_add(1, Ordering::SeqCst);
                        // 0x88: the status 200.
                        let head = frame(HEADERS, END_HEADERS | END_STREAM, id, &[0x88]);
                        drop(stream.write_all(&head).await);
                    }
                }
                let away = [last.to_be_bytes(), [0; 4]].concat();
                drop(stream.write_all(&frame(GOAWAY, 0, 0, &away)).await);
                // What is still under way is read, until the proxy has no use for the connection.
                while stream.read(&mut [0; 4096]).await.is_ok_and(|n| n > 0) {}
            });
        }
    });
    (endpoint, answered)
}

#[tokio::test]
async fn requests_behind_the_last_one_go_over_another_connection() {
    let tasks = Tasks::new();
    let (endpoint, answered) = going_away(5, &tasks).await;
    let (upstream, listening) = proxy(&[], options()).await;
    upstream.apply([endpoint]);
    let client = connect::<Full<Bytes>>(listening.address()).await;
    for _ in 0..4 {
        let all = (0..20).map(|_| {
            let mut client = client.clone();
            async move {
                let request = Request::post("http://shop/").body(Full::new(Bytes::from("x"))).unwrap();
                client.send_request(request).await.unwrap().status()
            }
        });
        let statuses = soon("the answers", join_all(all)).await;
        assert!(statuses.iter().all(|status| *status == StatusCode::OK), "{statuses:?}");
    }
    assert_eq!(answered.load(Ordering::SeqCst), 80, "each was answered once");
    assert_eq!(upstream.status()[0].state, EndpointState::Ready);
}

/// nginx, with connections of a few requests each. Dropping it ends it.
struct Nginx {
    child: Child,
    directory: std::path::PathBuf,
}

impl Nginx {
    /// `None` where it is not installed, which `ORCHESTRA_REQUIRE_SERVERS` makes a failure.
    fn start(port: u16) -> Option<Self> {
        let directory = std::env::temp_dir().join(format!("orchestra-nginx-{}-{port}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let here = directory.display();
        let configuration = format!(
            "daemon off; master_process off; pid {here}/pid; error_log {here}/error;\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path {here}/body; proxy_temp_path {here}/proxy;\n\
             fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n\
             server {{ listen 127.0.0.1:{port} http2; keepalive_requests 7; return 200 ok; }} }}\n"
        );
        let file = directory.join("nginx.conf");
        std::fs::write(&file, configuration).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&directory).arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => Some(Self { child, directory }),
            Err(error) if std::env::var_os("ORCHESTRA_REQUIRE_SERVERS").is_some() => panic!("nginx: {error}"),
            Err(_) => {
                eprintln!("SKIPPED: nginx is not installed");
                None
            }
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

#[tokio::test]
async fn nginx_ends_connections_after_some_requests_and_none_is_lost() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let Some(_nginx) = Nginx::start(port) else { return };
    until("nginx listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    let (upstream, listening) = proxy(&[], options()).await;
    upstream.apply([Endpoint::new("nginx", ([127, 0, 0, 1], port))]);
    let client = connect::<Full<Bytes>>(listening.address()).await;
    for _ in 0..10 {
        let all = (0..30).map(|i| {
            let mut client = client.clone();
            async move {
                let method = if i % 2 == 0 { Method::POST } else { Method::GET };
                let request = Request::builder().method(method).uri("http://shop/");
                let answer = client.send_request(request.body(Full::new(Bytes::from("x"))).unwrap()).await;
                read(answer.unwrap()).await.unwrap()
            }
        });
        for answered in soon("the answers", join_all(all)).await {
            assert_eq!(answered, (StatusCode::OK, "ok".to_owned()));
        }
    }
    assert_eq!(upstream.status()[0].in_flight, 0);
}

#[tokio::test]
async fn a_body_that_may_not_be_asked_again_is_sent_again() {
    let server = Server::start("server", [Does::ReadAndRefuse]).await;
    let (upstream, _listening) = proxy(&[], options()).await;
    upstream.apply([server.endpoint.clone()]);
    // Asked after its end it panics.
    let body = futures_util::stream::unfold(0, |sent| async move {
        let piece = http_body::Frame::data(Bytes::from_static(b"piece"));
        (sent < 2).then_some((Ok::<_, std::convert::Infallible>(piece), sent + 1))
    });
    let body = orchestra_net::ProxyBody::new(http_body_util::StreamBody::new(body));
    let client = orchestra_net::ServiceClient::new(upstream);
    let answer = soon("the answer", client.send(Request::post("/").body(body).unwrap())).await.unwrap();
    assert_eq!(answer.into_body().text().await.unwrap(), "piecepiece");
    assert_eq!((server.done(Does::ReadAndRefuse), server.done(Does::Echo)), (1, 1));
}
