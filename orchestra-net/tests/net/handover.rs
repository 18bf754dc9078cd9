//! Listening sockets pass from one group of threads to another, as they do between processes.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use orchestra_core::balance::Endpoint;
use orchestra_core::engine::Tasks;
use orchestra_net::{
    Heir, HttpOptions, HttpProxy, Inherited, Listening, NetError, Routes, TcpOptions, TcpProxy, UdpOptions,
    UdpProxy, Upstream, UpstreamOptions, Workers,
};
use tokio::io::AsyncReadExt;
use tokio::net::{UdpSocket, UnixStream};

use crate::backend::Backend;
use crate::client::Client;
use crate::proxy::{bind, proxy};
use crate::udp::{Client as Udp, Echo};
use crate::{soon, until};

/// A path of its own, removed at the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("orchestra-{name}-{}", std::process::id())))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

fn workers(count: usize) -> Workers {
    Workers::start(NonZeroUsize::new(count).unwrap()).unwrap()
}

fn to(backend: &Backend, tasks: &Tasks) -> HttpProxy {
    let upstream = Upstream::named("test");
    upstream.apply([backend.endpoint()]);
    HttpProxy::new(Routes::to(upstream), HttpOptions::default(), tasks)
}

fn udp_to(echo: &Echo, tasks: &Tasks) -> UdpProxy {
    let upstream = Upstream::named("udp");
    upstream.apply([echo.endpoint.clone()]);
    UdpProxy::new(upstream, UdpOptions::default(), tasks)
}

/// What is offered at a place, when it is, and a proxy that listens on it.
async fn taken(place: &Place, new: &Workers, proxy: UdpProxy, address: SocketAddr) -> (Inherited, Listening) {
    until("it is offered", || place.0.exists()).await;
    let inherited = new.inherit(&place.0).await.unwrap().unwrap();
    (inherited, proxy.bind_to(new, address).await.unwrap())
}

#[tokio::test]
async fn whoever_inherits_serves_at_the_same_address_with_more_or_fewer_threads() {
    let (a, b, tasks, place) =
        (Backend::start("a").await, Backend::start("b").await, Tasks::new(), Place::new("heir"));
    for (before, after) in [(2, 1), (1, 3)] {
        let (old, new) = (workers(before), workers(after));
        assert!(new.inherit(&place.0).await.unwrap().is_none(), "nobody offers anything yet");
        let listening = to(&a, &tasks).bind_to(&old, ([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listening.address();
        let offered = [&listening];
        let mut giving = Box::pin(Heir::wait(&place.0, &offered));
        assert!(futures_util::poll!(giving.as_mut()).is_pending());
        // One that dies with the sockets changes nothing.
        let mut dying = UnixStream::connect(&place.0).await.unwrap();
        let taking = async {
            dying.read_u8().await.unwrap();
            drop(dying);
            let inherited = new.inherit(&place.0).await.unwrap().unwrap();
            let listening = to(&b, &tasks).bind_to(&new, address).await.unwrap();
            (inherited, listening)
        };
        tokio::pin!(taking);
        let (inherited, successor) = tokio::select! {
            biased;
            _ = giving.as_mut() => panic!("nobody has said that it serves"),
            taken = soon("the sockets", taking) => taken,
        };
        let mut told = Box::pin(inherited.serving());
        assert!(futures_util::poll!(told.as_mut()).is_pending(), "the old one has not let go yet");
        let heir = soon("the heir", giving.as_mut()).await.unwrap();
        assert!(futures_util::poll!(told.as_mut()).is_pending(), "nor now");
        drop(heir);
        soon("that it has let go", told).await.unwrap();
        soon("its end", listening.shutdown()).await;
        for _ in 0..20 {
            let answered = soon("an answer", Client::new(address).call(http::Method::GET, "/", "")).await;
            assert_eq!(answered.unwrap(), (StatusCode::OK, "b".to_owned()));
        }
        successor.shutdown().await;
    }
}

#[tokio::test]
async fn all_that_a_process_listens_on_passes_at_once() {
    let (a, b, tasks, place) =
        (Backend::start("a").await, Backend::start("b").await, Tasks::new(), Place::new("heirs"));
    let tcp_to = |backend: &Backend| {
        let upstream = Upstream::named("tcp");
        upstream.apply([backend.endpoint()]);
        TcpProxy::new(upstream, TcpOptions::default(), &tasks)
    };
    let (old, new) = (workers(2), workers(2));
    let any = ([127, 0, 0, 1], 0).into();
    let http = to(&a, &tasks).bind_to(&old, any).await.unwrap();
    let tcp = tcp_to(&a).bind_to(&old, any).await.unwrap();
    let (at_http, at_tcp) = (http.address(), tcp.address());
    let both = [&http, &tcp];
    let giving = Heir::wait(&place.0, &both);
    let taking = async {
        until("it is offered", || place.0.exists()).await;
        let inherited = new.inherit(&place.0).await.unwrap().unwrap();
        let http = to(&b, &tasks).bind_to(&new, at_http).await.unwrap();
        let tcp = tcp_to(&b).bind_to(&new, at_tcp).await.unwrap();
        inherited.serving().await.unwrap();
        (http, tcp)
    };
    let giving = async { drop(giving.await.unwrap()) };
    let ((), successors) = soon("the hand-over", Box::pin(async { tokio::join!(giving, taking) })).await;
    soon("the old one's end", async { tokio::join!(http.shutdown(), tcp.shutdown()) }).await;
    for address in [at_http, at_tcp].into_iter().cycle().take(20) {
        assert_eq!(soon("an answer", Client::new(address).get("/")).await.1, "b");
    }
    drop(successors);
}

#[tokio::test]
async fn datagrams_are_read_by_one_process_at_a_time_and_what_was_asked_is_answered() {
    let (tasks, place) = (Tasks::new(), Place::new("datagrams"));
    let (slow, b) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), Echo::start("b").await);
    let to = |endpoint: Endpoint| {
        let upstream = Upstream::named("udp");
        upstream.apply([endpoint]);
        UdpProxy::new(upstream, UdpOptions::default().with_shutdown_grace(Duration::from_secs(600)), &tasks)
    };
    let (old, new) = (workers(2), workers(1));
    let before = to(Endpoint::new("slow", slow.local_addr().unwrap()));
    let before = before.bind_to(&old, ([0, 0, 0, 0], 0).into()).await.unwrap();
    let address = before.address();
    // One that waits for its answer, and one that the process before never heard of.
    let at = SocketAddr::from(([127, 0, 0, 9], address.port()));
    let (waits, comes) = (Udp::new(at).await, Udp::new(at).await);
    waits.0.send(b"question").await.unwrap();
    let mut datagram = vec![0; 65_535];
    let (_, session) = soon("the question", slow.recv_from(&mut datagram)).await.unwrap();

    let offered = [&before];
    let giving = Heir::wait(&place.0, &offered);
    let taking = async {
        until("it is offered", || place.0.exists()).await;
        let inherited = new.inherit(&place.0).await.unwrap().unwrap();
        let after = to(b.endpoint.clone()).bind_to(&new, address).await.unwrap();
        // It does not serve yet, so these are the other one's.
        for _ in 0..30 {
            comes.0.send(b"early").await.unwrap();
            let (length, _) = soon("the question", slow.recv_from(&mut datagram)).await.unwrap();
            assert_eq!((&datagram[..length], b.came()), (&b"early"[..], 0));
        }
        inherited.serving().await.unwrap();
        after
    };
    let giving = async { drop(giving.await.unwrap()) };
    let ((), after) = soon("the hand-over", Box::pin(async { tokio::join!(giving, taking) })).await;
    // The one before is still there, and reads nothing any more.
    let large = "x".repeat(60_000);
    for text in ["one", "two", large.as_str()].into_iter().cycle().take(30) {
        assert_eq!(comes.ask(text).await, format!("b {text}"));
    }
    assert!(slow.try_recv_from(&mut datagram).is_err(), "it was asked by the one before");
    // Also where it is told to end, its client has its answer from the address that it has asked.
    let ending = before.shutdown();
    tokio::pin!(ending);
    assert!(futures_util::poll!(ending.as_mut()).is_pending());
    slow.send_to(b"answer", session).await.unwrap();
    let length = soon("the answer", waits.0.recv(&mut datagram)).await.unwrap();
    assert_eq!(&datagram[..length], b"answer");
    assert_eq!(waits.ask("again").await, "b again");
    drop(after);
}

#[tokio::test]
async fn whoever_serves_later_than_it_may_take_takes_over_then() {
    let (tasks, place) = (Tasks::new(), Place::new("late"));
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let (old, new) = (workers(1), workers(1));
    let before = udp_to(&a, &tasks).bind_to(&old, ([127, 0, 0, 1], 0).into()).await.unwrap();
    let (address, offered) = (before.address(), [&before]);
    let mut giving = Box::pin(Heir::wait(&place.0, &offered));
    let taking = taken(&place, &new, udp_to(&b, &tasks), address);
    let (inherited, after) = tokio::select! {
        biased;
        _ = giving.as_mut() => panic!("nobody has said that it serves"),
        taken = soon("the sockets", Box::pin(taking)) => taken,
    };
    // The one before has waited for long enough, and goes on.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    assert!(futures_util::poll!(giving.as_mut()).is_pending());
    let client = Udp::new(address).await;
    for text in ["one", "two", "three"] {
        assert_eq!(client.ask(text).await, format!("a {text}"), "nobody else has said that it serves");
    }
    let giving = async { drop(giving.await.unwrap()) };
    let ((), told) = soon("the hand-over", async { tokio::join!(giving, inherited.serving()) }).await;
    told.unwrap();
    let came = a.came();
    for text in ["one", "two", "three"].into_iter().cycle().take(30) {
        assert_eq!(client.ask(text).await, format!("b {text}"));
    }
    assert_eq!(a.came(), came, "it was asked by the one before");
    drop((before, after));
}

#[tokio::test]
async fn where_nobody_offers_any_more_all_is_left_to_whoever_has_the_sockets() {
    let (tasks, place) = (Tasks::new(), Place::new("left"));
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let (old, new) = (workers(1), workers(1));
    let before = udp_to(&a, &tasks).bind_to(&old, ([127, 0, 0, 1], 0).into()).await.unwrap();
    let (address, offered) = (before.address(), [&before]);
    let taking = taken(&place, &new, udp_to(&b, &tasks), address);
    let (inherited, after) = tokio::select! {
        biased;
        _ = Heir::wait(&place.0, &offered) => panic!("nobody has said that it serves"),
        taken = soon("the sockets", Box::pin(taking)) => taken,
    };
    before.shutdown().await;
    let told = soon("that it is gone", inherited.serving()).await;
    assert!(matches!(told, Err(NetError::HandOver { .. })), "{told:?}");
    assert_eq!(Udp::new(address).await.ask("one").await, "b one");
    drop(after);
}

#[tokio::test]
async fn whoever_inherits_a_socket_that_only_one_may_listen_on_serves_it_with_all_threads() {
    let (a, b, tasks, place) =
        (Backend::start("a").await, Backend::start("b").await, Tasks::new(), Place::new("alone"));
    let alone = to(&a, &tasks).bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let (address, offered, new) = (alone.address(), [&alone], workers(3));
    let giving = async { drop(Heir::wait(&place.0, &offered).await.unwrap()) };
    let taking = async {
        until("it is offered", || place.0.exists()).await;
        let inherited = new.inherit(&place.0).await.unwrap().unwrap();
        let listening = to(&b, &tasks).bind_to(&new, address).await.unwrap();
        inherited.serving().await.unwrap();
        listening
    };
    let ((), successor) = soon("the hand-over", Box::pin(async { tokio::join!(giving, taking) })).await;
    soon("the end", alone.shutdown()).await;
    for _ in 0..20 {
        assert_eq!(soon("an answer", Client::new(address).get("/")).await.1, "b");
    }
    drop(successor);
}

#[tokio::test]
async fn sockets_are_given_to_nobody_else() {
    let can_ask = Command::new("python3").arg("--version").output().is_ok();
    if !can_ask || !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can be somebody else, who asks with python3");
        return;
    }
    let (a, tasks, place) = (Backend::start("a").await, Tasks::new(), Place::new("others"));
    let listening = to(&a, &tasks).bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let offered = [&listening];
    let asking = async {
        until("it is offered", || place.0.exists()).await;
        // As it is for an instant where new files are everybody's.
        std::fs::set_permissions(&place.0, std::fs::Permissions::from_mode(0o666)).unwrap();
        let script =
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(1))";
        let mut other = Command::new("python3");
        other.args(["-c", script]).arg(&place.0).uid(65534).current_dir("/");
        let said = tokio::task::spawn_blocking(move || other.output()).await.unwrap().unwrap();
        (String::from_utf8(said.stdout).unwrap(), workers(1).inherit(&place.0).await.unwrap().is_some())
    };
    let asked = tokio::select! {
        biased;
        _ = Heir::wait(&place.0, &offered) => panic!("nobody has said that it serves"),
        asked = soon("the answers", Box::pin(asking)) => asked,
    };
    assert_eq!(asked, ("b''\n".to_owned(), true), "the next one, of this user, gets them");
}

#[tokio::test]
async fn an_offer_that_can_not_be_made_says_where() {
    let a = Backend::start("a").await;
    let (_upstream, listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let place = std::env::temp_dir().join("there/is/no/such/directory");
    let error = Heir::wait(&place, &[&listening]).await.unwrap_err();
    assert!(matches!(&error, NetError::HandOver { .. }));
    assert!(error.to_string().contains("no/such/directory"), "{error}");
}

#[tokio::test]
async fn a_connection_that_is_kept_gets_one_more_answer_at_the_end() {
    let a = Backend::start("a").await;
    let upstream = Upstream::named("test");
    upstream.apply([a.endpoint()]);
    let listening = bind(&upstream, HttpOptions::default().with_idle_grace(Duration::from_secs(600))).await;
    let mut client = Client::new(listening.address());
    client.get("/").await;
    let ending = listening.shutdown();
    tokio::pin!(ending);
    assert!(futures_util::poll!(ending.as_mut()).is_pending());
    let request =
        http::Request::get("/").header("host", "test").body(http_body_util::Full::default()).unwrap();
    let answer = client.send(request).await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["connection"]),
        (StatusCode::OK, &HeaderValue::from_static("close"))
    );
    soon("the end", ending).await;
    until("the client's connection is closed", || upstream.status()[0].in_flight == 0).await;
}
