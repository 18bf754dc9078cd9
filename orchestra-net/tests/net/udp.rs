//! Datagrams through the proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use orchestra_core::balance::{Endpoint, LoadBalancer, PeakEwma, PeakEwmaOptions, RoundRobin};
use orchestra_core::engine::Tasks;
use orchestra_net::{EndpointState, Listening, UdpOptions, UdpProxy, Upstream, UpstreamOptions};
use tokio::net::UdpSocket;

use crate::{soon, until};

/// An endpoint that puts its name before what comes, and sends it back.
pub(crate) struct Echo {
    pub(crate) endpoint: Endpoint,
    came: Arc<AtomicUsize>,
    tasks: Tasks,
}

impl Echo {
    pub(crate) async fn start(name: &'static str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::new(name, socket.local_addr().unwrap());
        let (came, tasks) = (Arc::<AtomicUsize>::default(), Tasks::new());
        let count = Arc::clone(&came);
        tasks.spawn("echo", async move {
            let mut datagram = vec![0; 65_535];
            loop {
                let (length, from) = socket.recv_from(&mut datagram).await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let answer = [name.as_bytes(), b" ", &datagram[..length]].concat();
                drop(socket.send_to(&answer, from).await);
            }
        });
        Self { endpoint, came, tasks }
    }

    pub(crate) fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

async fn proxy(echoes: &[&Echo], options: UdpOptions) -> (Arc<Upstream>, Listening) {
    balanced(echoes, Box::<RoundRobin>::default(), options).await
}

/// The first failure ejects.
async fn balanced(
    echoes: &[&Echo],
    balancer: Box<dyn LoadBalancer>,
    options: UdpOptions,
) -> (Arc<Upstream>, Listening) {
    let strict = UpstreamOptions::default().with_ejection(1, Duration::from_secs(600), 50);
    let upstream = Upstream::new("test", balancer, strict);
    upstream.apply(echoes.iter().map(|echo| echo.endpoint.clone()));
    let listening = bind(&upstream, options, [127, 0, 0, 1]).await;
    (upstream, listening)
}

async fn bind(upstream: &Arc<Upstream>, options: UdpOptions, address: [u8; 4]) -> Listening {
    let proxy = UdpProxy::new(Arc::clone(upstream), options, &Tasks::new());
    proxy.bind((address, 0).into()).await.unwrap()
}

pub(crate) struct Client(pub(crate) UdpSocket);

impl Client {
    pub(crate) async fn new(proxy: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(proxy).await.unwrap();
        Self(socket)
    }

    /// Sends this until an answer to it comes: a datagram may get lost.
    pub(crate) async fn ask(&self, text: &str) -> String {
        let asking = async {
            let mut answer = vec![0; 65_535];
            loop {
                self.0.send(text.as_bytes()).await.unwrap();
                let waiting = tokio::time::timeout(Duration::from_millis(500), self.0.recv(&mut answer));
                if let Ok(Ok(length)) = waiting.await {
                    let said = String::from_utf8_lossy(&answer[..length]).into_owned();
                    if said.ends_with(text) {
                        return said;
                    }
                }
            }
        };
        soon("the answer", asking).await
    }
}

fn in_flight(upstream: &Upstream) -> usize {
    upstream.status().iter().map(|endpoint| endpoint.in_flight).sum()
}

#[tokio::test]
async fn each_client_has_its_endpoint_and_gets_its_answers() {
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let (upstream, listening) = proxy(&[&a, &b], UdpOptions::default()).await;
    let clients = [
        Client::new(listening.address()).await,
        Client::new(listening.address()).await,
        Client::new(listening.address()).await,
    ];
    let mut met = Vec::new();
    for (i, client) in clients.iter().enumerate() {
        let first = client.ask(&format!("{i}-0")).await;
        for n in 1..5 {
            let text = format!("{i}-{n}");
            assert_eq!(client.ask(&text).await, format!("{} {text}", &first[..1]));
        }
        met.push(first[..1].to_owned());
    }
    assert_eq!(met, ["a", "b", "a"], "sessions go round");
    assert_eq!(in_flight(&upstream), 3);
    let large = "x".repeat(60_000);
    assert_eq!(clients[0].ask(&large).await.len(), large.len() + 2);
    soon("the end", listening.shutdown()).await;
    until("all places are free", || in_flight(&upstream) == 0).await;
}

#[tokio::test]
async fn a_session_ends_with_its_endpoint_and_goes_on_with_another() {
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    let (upstream, listening) = proxy(&[&a], UdpOptions::default()).await;
    let client = Client::new(listening.address()).await;
    assert_eq!(client.ask("one").await, "a one");
    upstream.insert([b.endpoint.clone()]);
    assert_eq!(client.ask("two").await, "a two");
    // The drain waits for no client, which would never say that it has ended.
    soon("the drain", upstream.drain(&"a".into())).await;
    let before = a.came();
    assert_eq!(client.ask("three").await, "b three");
    assert_eq!(a.came(), before);
}

#[tokio::test]
async fn an_endpoint_that_refuses_loses_its_sessions_and_is_ejected() {
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let b = Echo::start("b").await;
    let (upstream, listening) = proxy(&[&b], UdpOptions::default()).await;
    upstream.insert([Endpoint::new("nobody", nobody)]);
    for i in 0..4 {
        let client = Client::new(listening.address()).await;
        assert_eq!(client.ask(&format!("{i}")).await, format!("b {i}"));
    }
    let ejected = || {
        let all = upstream.status();
        all.iter().find(|endpoint| endpoint.id.address == nobody).unwrap().state == EndpointState::Ejected
    };
    until("it is ejected", ejected).await;
    assert_eq!(in_flight(&upstream), 4, "of those that it had none is left");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn whoever_asks_one_of_many_addresses_is_answered_from_that_one() {
    let a = Echo::start("a").await;
    let (upstream, _listening) = proxy(&[&a], UdpOptions::default()).await;
    let listening = bind(&upstream, UdpOptions::default(), [0, 0, 0, 0]).await;
    let port = listening.address().port();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    // The same client, from the same port, of both: it hears only whom it has asked last.
    for to in [[127, 0, 0, 1], [127, 0, 0, 9], [127, 0, 0, 1]] {
        client.connect(SocketAddr::from((to, port))).await.unwrap();
        let large = format!("{to:?} {}", "x".repeat(60_000));
        for text in ["one", large.as_str()] {
            client.send(text.as_bytes()).await.unwrap();
            let mut answer = vec![0; 65_535];
            let length = soon("the answer", client.recv(&mut answer)).await.unwrap();
            assert_eq!(answer[..length], *format!("a {text}").as_bytes());
        }
    }
    assert_eq!(in_flight(&upstream), 2, "each address that it asks is a session");
    client.send(b"").await.unwrap();
    let mut answer = [0; 8];
    let length = soon("the answer", client.recv(&mut answer)).await.unwrap();
    assert_eq!(&answer[..length], b"a ", "nothing is a datagram, too");
}

#[tokio::test]
async fn how_long_a_session_lasts_is_no_latency() {
    let (a, b) = (Echo::start("a").await, Echo::start("b").await);
    // What is not known yet counts as slower than any answer here, and as faster than a session.
    let initial = Duration::from_millis(250);
    let options = PeakEwmaOptions::default().with_initial(initial).with_probe_every(0);
    let balancer = Box::new(PeakEwma::new(options.with_decay(Duration::from_secs(600))));
    let (upstream, listening) =
        balanced(&[&a], balancer, UdpOptions::default().with_idle_timeout(2 * initial)).await;
    assert_eq!(Client::new(listening.address()).await.ask("one").await, "a one");
    until("its session is over", || in_flight(&upstream) == 0).await;
    upstream.insert([b.endpoint.clone()]);
    let next = upstream.pick(&[], None).unwrap();
    assert_eq!(next.id(), &a.endpoint.id, "it has answered at once");
}

#[tokio::test]
async fn sessions_end_when_nothing_comes_and_are_no_more_than_may_be() {
    let a = Echo::start("a").await;
    let options = UdpOptions::default().with_max_sessions(2).with_idle_timeout(Duration::from_millis(300));
    let (upstream, listening) = proxy(&[&a], options).await;
    // Idle sessions make room by and by, so all are served in the end, and never more than two at once. A client asks
    // again only after its session has ended: the first datagram of each must get through.
    for i in 0..6 {
        let client = Client::new(listening.address()).await;
        assert_eq!(client.ask(&format!("{i}")).await, format!("a {i}"));
        assert!(in_flight(&upstream) <= 2, "{}", in_flight(&upstream));
    }
    until("all have ended", || in_flight(&upstream) == 0).await;
    let again = Client::new(listening.address()).await;
    assert_eq!(again.ask("again").await, "a again");
}

#[tokio::test]
async fn an_endpoint_that_sends_much_lets_others_have_their_turns() {
    let endpoint = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (upstream, listening) = proxy(&[], UdpOptions::default()).await;
    upstream.insert([Endpoint::new("much", endpoint.local_addr().unwrap())]);
    let client = Client::new(listening.address()).await;
    client.0.send(b"one").await.unwrap();
    let mut datagram = [0; 8];
    let (_, session) = soon("the question", endpoint.recv_from(&mut datagram)).await.unwrap();
    // What a socket's buffer holds, while nothing else goes on in this thread.
    let endpoint = endpoint.into_std().unwrap();
    for _ in 0..200 {
        endpoint.send_to(b"much", session).unwrap();
    }
    let client = client.0.into_std().unwrap();
    let (mut all, mut most) = (0, 0);
    let coming = async {
        while all < 200 {
            let at_once =
                std::iter::repeat_with(|| client.recv(&mut datagram)).take_while(Result::is_ok).count();
            all += at_once;
            most = most.max(at_once);
            tokio::task::yield_now().await;
        }
    };
    soon("all of them", coming).await;
    assert!(most < 200, "they all came before others had a turn");
}
