//! Names that others know, asked for over UDP and TCP.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NULL, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use orchestra_core::engine::Tasks;
use orchestra_net::{DnsForward, DnsOptions, DnsServer, NetError, ServiceRecord, Zone};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use crate::dns::{addresses, query, record, tcp, udp};
use crate::soon;

/// A question that came, and how.
#[derive(Clone, Debug)]
struct Asked {
    query: Message,
    client: SocketAddr,
    tcp: bool,
}

/// Another name server, and what it was asked. It answers what it is told to, with datagrams one after the other.
struct Other {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    tasks: Tasks,
}

impl Other {
    async fn start(answers: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::start_at([127, 0, 0, 1], answers).await
    }

    async fn start_at(ip: [u8; 4], answers: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let (socket, listener) = loop {
            let socket = UdpSocket::bind(SocketAddr::from((ip, 0))).await.unwrap();
            // Somebody else may have that port for TCP.
            if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
                break (socket, listener);
            }
        };
        let (address, asked, tasks) =
            (socket.local_addr().unwrap(), Arc::<Mutex<Vec<Asked>>>::default(), Tasks::new());
        let noted = Arc::clone(&asked);
        let answers = Arc::new(move |bytes: &[u8], client, tcp| {
            let asked = Asked { query: Message::from_vec(bytes).unwrap(), client, tcp };
            let answers = answers(&asked);
            noted.lock().unwrap().push(asked);
            answers
        });
        let over_tcp = Arc::clone(&answers);
        tasks.spawn("udp", async move {
            let mut datagram = [0; 4096];
            loop {
                let (length, client) = socket.recv_from(&mut datagram).await.unwrap();
                for answer in answers(&datagram[..length], client, false) {
                    socket.send_to(&answer, client).await.unwrap();
                }
            }
        });
        tasks.spawn("tcp", async move {
            loop {
                let (mut stream, client) = listener.accept().await.unwrap();
                let mut query = vec![0; stream.read_u16().await.unwrap().into()];
                stream.read_exact(&mut query).await.unwrap();
                for answer in over_tcp(&query, client, true) {
                    stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            }
        });
        Self { address, asked, tasks }
    }

    /// One that says nothing.
    async fn stalled(ip: [u8; 4]) -> Self {
        Self::start_at(ip, |_| Vec::new()).await
    }

    /// One that knows this many addresses of every name.
    async fn knows(count: u8) -> Self {
        Self::start(move |asked| vec![known(&asked.query, count).to_vec().unwrap()]).await
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

fn says(query: &Message, ttl: u32, answers: impl IntoIterator<Item = RData>) -> Message {
    let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.recursion_available = true;
    answer.add_queries(query.queries.clone());
    let record = |data| Record::from_rdata(query.queries[0].name.clone(), ttl, data);
    answer.add_answers(answers.into_iter().map(record));
    answer
}

fn address(last: u8) -> RData {
    RData::A(A(Ipv4Addr::new(192, 0, 2, last)))
}

fn known(query: &Message, count: u8) -> Message {
    says(query, 60, (0..count).map(address))
}

fn name(name: &str) -> Name {
    Name::from_ascii(name).unwrap()
}

fn failure(query: &Message, code: ResponseCode) -> Message {
    let mut answer = known(query, 0);
    answer.metadata.response_code = code;
    answer
}

fn zone() -> Zone {
    let zone = Zone::new("cluster.local");
    zone.set("shop", "cart", record(Some([10, 9, 8, 7].into()), 0));
    zone.set("shop", "db", record(None, 1));
    let mut mail = ServiceRecord::default();
    mail.alias = "mail.example.org".to_owned();
    zone.set("shop", "mail", mail);
    zone
}

fn to(others: &[SocketAddr]) -> DnsOptions {
    DnsOptions::default().with_forward(DnsForward::To(others.to_vec()))
}

async fn serve(options: DnsOptions) -> DnsServer {
    DnsServer::bind(([127, 0, 0, 1], 0).into(), zone(), options, &Tasks::new()).await.unwrap()
}

#[tokio::test]
async fn others_are_asked_about_other_names_and_about_no_others() {
    let other = Other::knows(2).await;
    let server = serve(to(&[other.address])).await;
    let names = ["Example.org.", "example.com."];
    let answers = [
        udp(server.address(), &query(names[0], RecordType::A)).await,
        tcp(server.address(), &query(names[1], RecordType::A)).await,
    ];
    for (answer, name) in answers.iter().zip(names) {
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert!(answer.metadata.recursion_available && !answer.metadata.authoritative);
        assert_eq!(answer.queries[0].name.to_ascii(), name);
        assert_eq!(addresses(answer).len(), 2);
    }
    let asked = other.asked();
    let ids: BTreeSet<u16> = asked.iter().map(|asked| asked.query.metadata.id).collect();
    let ports: BTreeSet<u16> = asked.iter().map(|asked| asked.client.port()).collect();
    assert!(ids.len() == 2 && !ids.contains(&77), "an identity of its own for each: {ids:?}");
    assert_eq!(ports.len(), 2, "and a port");
    assert!(asked.iter().all(|asked| asked.query.metadata.recursion_desired));

    let (there, not_there) = (ResponseCode::NoError, ResponseCode::NXDomain);
    for (name, kind, code) in [
        ("cart.shop.svc.cluster.local.", RecordType::A, there),
        ("cart.shop.svc.cluster.local.", RecordType::AAAA, there),
        ("none.shop.svc.cluster.local.", RecordType::A, not_there),
        ("example.org.cluster.local.", RecordType::A, not_there),
        ("7.8.9.10.in-addr.arpa.", RecordType::PTR, not_there),
        ("0.0.0.10.in-addr.arpa.", RecordType::PTR, not_there),
        ("example.org.", RecordType::AXFR, ResponseCode::Refused),
    ] {
        let answer = udp(server.address(), &query(name, kind)).await;
        assert_eq!(answer.metadata.response_code, code, "{name}");
    }
    assert_eq!(other.asked().len(), 2, "none of these was anybody else's to know");
    udp(server.address(), &query("1.9.9.10.in-addr.arpa.", RecordType::PTR)).await;
    // As it is, with nothing of the system's behind it.
    udp(server.address(), &query("host.", RecordType::A)).await;
    let asked: Vec<String> =
        other.asked()[2..].iter().map(|asked| asked.query.queries[0].name.to_ascii()).collect();
    assert_eq!(asked, ["1.9.9.10.in-addr.arpa.", "host."]);
}

#[tokio::test]
async fn records_of_every_type_are_found_and_that_there_are_none() {
    let unknown = RecordType::Unknown(65_280);
    let other = Other::start(move |asked| {
        let question = &asked.query.queries[0];
        let data = match question.query_type {
            RecordType::A => address(1),
            RecordType::AAAA => RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
            RecordType::SRV => RData::SRV(SRV::new(0, 1, 80, name("host.example.org."))),
            RecordType::TXT => RData::TXT(TXT::new(vec!["said".to_owned()])),
            RecordType::MX => RData::MX(MX::new(5, name("mail.example.org."))),
            _ => RData::Unknown { code: unknown, rdata: NULL::with(vec![1, 2, 3]) },
        };
        let there = question.name == name("example.org.");
        let mut answer = says(&asked.query, 60, there.then_some(data));
        if !there {
            let soa = SOA::new(name("ns.org."), name("host-master.org."), 1, 7200, 1800, 86_400, 30);
            answer.add_authority(Record::from_rdata(name("org."), 60, RData::SOA(soa)));
        }
        if question.name == name("none.org.") {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        vec![answer.to_vec().unwrap()]
    })
    .await;
    let server = serve(to(&[other.address])).await;
    for kind in [RecordType::A, RecordType::AAAA, RecordType::SRV, RecordType::TXT, RecordType::MX, unknown] {
        let answer = udp(server.address(), &query("example.org.", kind)).await;
        let kinds: Vec<_> = answer.answers.iter().map(Record::record_type).collect();
        assert_eq!((answer.metadata.response_code, kinds), (ResponseCode::NoError, vec![kind]));
        for (name, code) in [("empty.org.", ResponseCode::NoError), ("none.org.", ResponseCode::NXDomain)] {
            let answer = udp(server.address(), &query(name, kind)).await;
            assert_eq!((answer.metadata.response_code, answer.answers.len()), (code, 0), "{name} {kind}");
            assert!(matches!(answer.authorities[0].data, RData::SOA(_)), "how long that may be kept");
            assert!(answer.authorities[0].ttl <= 30, "its least, of which some is over (RFC 2308, 5)");
        }
    }
}

#[tokio::test]
async fn answers_are_kept_for_as_long_as_they_may_be() {
    let other = Other::start(|asked| {
        let kept = asked.query.queries[0].name == name("kept.org.");
        vec![says(&asked.query, if kept { 3600 } else { 0 }, [address(1)]).to_vec().unwrap()]
    })
    .await;
    let server = serve(to(&[other.address])).await;
    for (name, questions) in [("kept.org.", 1), ("fleeting.org.", 3)] {
        let before = other.asked().len();
        for _ in 0..3 {
            let answer = udp(server.address(), &query(name, RecordType::A)).await;
            assert_eq!(addresses(&answer).len(), 1);
            assert!((3500..=3600).contains(&answer.answers[0].ttl) || questions == 3);
        }
        assert_eq!(other.asked().len() - before, questions, "{name}");
    }
}

#[tokio::test]
async fn a_service_that_stands_for_a_name_elsewhere_has_its_addresses() {
    // And that one stands for another.
    let other = Other::start(|asked| {
        let third = name("third.example.org.");
        let mut answer = says(&asked.query, 60, [RData::CNAME(CNAME(third.clone()))]);
        let data = match asked.query.queries[0].query_type {
            RecordType::SRV => RData::SRV(SRV::new(0, 1, 80, name("host.example.org."))),
            _ => address(1),
        };
        answer.add_answer(Record::from_rdata(third, 30, data));
        vec![answer.to_vec().unwrap()]
    })
    .await;
    let server = serve(to(&[other.address])).await;
    let ask = async |name, kind| {
        let answer = udp(server.address(), &query(name, kind)).await;
        assert_eq!(answer.queries[0].name.to_ascii(), name);
        answer.answers.iter().map(Record::record_type).collect::<Vec<_>>()
    };
    let (a, cname, srv) = (RecordType::A, RecordType::CNAME, RecordType::SRV);
    assert_eq!(ask("mail.shop.svc.cluster.local.", a).await, [cname, cname, a]);
    assert_eq!(other.asked()[0].query.queries[0].name.to_ascii(), "mail.example.org.");
    // Without the names in between.
    assert_eq!(ask("_smtp._tcp.example.org.", srv).await, [srv]);
    assert_eq!(other.asked().len(), 2);
}

#[tokio::test]
async fn a_name_that_stands_for_one_that_is_known_says_so() {
    // Says nothing of what others stand for.
    let other = Other::start(|asked| {
        let is_other = asked.query.queries[0].name == name("other.org.");
        let data = if is_other { RData::CNAME(CNAME(name("example.org."))) } else { address(1) };
        vec![says(&asked.query, 60, [data]).to_vec().unwrap()]
    })
    .await;
    let server = serve(to(&[other.address])).await;
    assert_eq!(addresses(&udp(server.address(), &query("example.org.", RecordType::A)).await).len(), 1);
    for _ in 0..2 {
        let answer = udp(server.address(), &query("other.org.", RecordType::A)).await;
        let said: Vec<_> =
            answer.answers.iter().map(|record| (record.name.to_ascii(), record.record_type())).collect();
        let expected = [("other.org.", RecordType::CNAME), ("example.org.", RecordType::A)];
        assert_eq!(said, expected.map(|(name, kind)| (name.to_owned(), kind)));
    }
    assert_eq!(other.asked().len(), 2);
}

#[tokio::test]
async fn what_fits_no_datagram_is_fetched_once_and_told_over_tcp() {
    // Says over UDP only that there is more.
    let other = Other::start(|asked| {
        let answer = known(&asked.query, 200);
        vec![if asked.tcp { answer } else { answer.truncate() }.to_vec().unwrap()]
    })
    .await;
    let server = serve(to(&[other.address])).await;
    let ask = query("example.org.", RecordType::A);
    let short = udp(server.address(), &ask).await;
    assert!(short.metadata.truncation && short.answers.is_empty());
    assert_eq!(addresses(&tcp(server.address(), &ask).await).len(), 200);
    let asked: Vec<bool> = other.asked().iter().map(|asked| asked.tcp).collect();
    assert_eq!(asked, [false, true]);
}

#[tokio::test]
async fn what_fits_no_datagram_is_fetched_while_another_server_says_nothing() {
    let long = Other::start(|asked| {
        let answer = known(&asked.query, 200);
        vec![if asked.tcp { answer } else { answer.truncate() }.to_vec().unwrap()]
    })
    .await;
    let stalled = Other::stalled([127, 0, 0, 2]).await;
    let server =
        serve(to(&[stalled.address, long.address]).with_forward_timeout(Duration::from_secs(8))).await;
    let began = tokio::time::Instant::now();
    let answer = tcp(server.address(), &query("example.org.", RecordType::A)).await;
    assert_eq!((answer.metadata.response_code, addresses(&answer).len()), (ResponseCode::NoError, 200));
    assert!(began.elapsed() < Duration::from_secs(4), "a round's time: {:?}", began.elapsed());
}

#[tokio::test]
async fn clients_get_datagrams_of_the_size_that_they_take_and_not_what_others_send() {
    let other = Other::knows(60).await;
    let server = serve(to(&[other.address])).await;
    let ask = |payload: Option<u16>| {
        let mut message = Message::from_vec(&query("example.org.", RecordType::A)).unwrap();
        if let Some(payload) = payload {
            let mut edns = Edns::new();
            edns.set_max_payload(payload).set_dnssec_ok(true);
            message.set_edns(edns);
        }
        message.to_vec().unwrap()
    };
    // Of some 1,000 bytes.
    let whole = udp(server.address(), &ask(Some(4096))).await;
    assert_eq!((addresses(&whole).len(), whole.metadata.truncation), (60, false));
    assert!(!whole.edns.unwrap().flags().dnssec_ok, "there are no signatures");
    let edns = other.asked()[0].query.edns.clone().unwrap();
    assert_eq!((edns.max_payload(), edns.flags().dnssec_ok), (1232, false));
    for payload in [None, Some(512), Some(900)] {
        let short = udp(server.address(), &ask(payload)).await;
        assert!(short.metadata.truncation && short.answers.is_empty(), "{payload:?}");
        assert_eq!(short.edns.is_some(), payload.is_some());
    }
}

#[tokio::test]
async fn whoever_says_nothing_is_asked_last_and_nobody_waits_for_ever() {
    // How somebody did is remembered of an IP address.
    let (stalled, well) = (Other::stalled([127, 0, 0, 2]).await, Other::knows(1).await);
    let nobody = UdpSocket::bind("127.0.0.3:0").await.unwrap().local_addr().unwrap();
    let round = Duration::from_secs(2);
    let options = to(&[stalled.address, nobody, well.address]).with_forward_timeout(2 * round);
    let server = serve(options).await;
    let mut began = tokio::time::Instant::now();
    for (i, name) in ["a.org.", "b.org.", "c.org.", "d.org."].into_iter().enumerate() {
        assert_eq!(addresses(&udp(server.address(), &query(name, RecordType::A)).await).len(), 1);
        if i == 0 {
            began = tokio::time::Instant::now();
        }
    }
    assert!(began.elapsed() < round, "who knows is not asked after those two again");

    let options = to(&[stalled.address]).with_forward_timeout(Duration::from_millis(300));
    let server = serve(options).await;
    let ask = query("example.org.", RecordType::A);
    for answer in [udp(server.address(), &ask).await, tcp(server.address(), &ask).await] {
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::ServFail, 0));
    }
}

#[tokio::test]
async fn a_lost_datagram_is_sent_again_and_who_does_not_know_is_passed_over() {
    let tries = Mutex::new(0);
    let loses = Other::start(move |asked| {
        let mut tries = tries.lock().unwrap();
        *tries += 1;
        if *tries == 1 { Vec::new() } else { vec![known(&asked.query, 1).to_vec().unwrap()] }
    })
    .await;
    let codes = [ResponseCode::Refused, ResponseCode::ServFail, ResponseCode::NotImp, ResponseCode::FormErr];
    let mut others = Vec::new();
    for code in codes {
        others.push(Other::start(move |asked| vec![failure(&asked.query, code).to_vec().unwrap()]).await);
    }
    let mut servers: Vec<SocketAddr> = others.iter().map(|other| other.address).collect();
    servers.push(loses.address);
    let server = serve(to(&servers).with_forward_timeout(crate::PATIENCE)).await;
    assert_eq!(addresses(&udp(server.address(), &query("example.org.", RecordType::A)).await).len(), 1);
    let asked = loses.asked();
    assert!(asked.len() >= 2 && asked[0].query == asked[1].query);
    // Who fails quickly is not preferred to who knows.
    for i in 0..8 {
        let ask = query(&format!("n{i}.example.org."), RecordType::A);
        assert_eq!(addresses(&udp(server.address(), &ask).await).len(), 1);
    }
    // That there is none is an answer.
    let knows_none =
        Other::start(|asked| vec![failure(&asked.query, ResponseCode::NXDomain).to_vec().unwrap()]).await;
    let server = serve(to(&[knows_none.address])).await;
    let answer = udp(server.address(), &query("example.org.", RecordType::A)).await;
    assert_eq!((answer.metadata.response_code, knows_none.asked().len()), (ResponseCode::NXDomain, 1));
}

#[tokio::test]
async fn what_does_not_answer_the_question_is_not_heard() {
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let with = |asked: &Asked, change: &dyn Fn(&mut Message)| {
        let mut wrong = known(&asked.query, 9);
        change(&mut wrong);
        wrong.to_vec().unwrap()
    };
    let other = Other::start(move |asked| {
        let right = known(&asked.query, 1);
        stranger.send_to(&known(&asked.query, 9).to_vec().unwrap(), asked.client).unwrap();
        vec![
            b"nonsense".to_vec(),
            with(asked, &|wrong| wrong.metadata.id ^= 1),
            with(asked, &|wrong| wrong.queries[0].name = name("example.com.")),
            with(asked, &|wrong| wrong.queries[0].query_type = RecordType::AAAA),
            with(asked, &|wrong| drop(wrong.queries.pop())),
            with(asked, &|wrong| drop(wrong.add_query(Query::default()).clone())),
            right.to_vec().unwrap(),
        ]
    })
    .await;
    let server = serve(to(&[other.address])).await;
    assert_eq!(addresses(&udp(server.address(), &query("example.org.", RecordType::A)).await).len(), 1);
    // Whoever has the identity right and sends no answer fails, and is passed over.
    let fails = Other::start(move |asked| {
        vec![with(asked, &|wrong| wrong.metadata.message_type = MessageType::Query)]
    })
    .await;
    for servers in [vec![fails.address], vec![fails.address, other.address]] {
        let server = serve(to(&servers)).await;
        let found = addresses(&udp(server.address(), &query("example.org.", RecordType::A)).await);
        assert_eq!(found.len(), servers.len() - 1);
    }
}

#[tokio::test]
async fn a_server_that_is_told_to_ask_itself_asks_the_next_one() {
    let next = Other::knows(1).await;
    // At all of this host's addresses, so that it is not its own by its name.
    let bind = async {
        loop {
            let port = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
            let itself = ([127, 0, 0, 9], port).into();
            let bind = async |options| {
                DnsServer::bind(([0, 0, 0, 0], port).into(), zone(), options, &Tasks::new()).await
            };
            let error = bind(to(&[itself])).await.unwrap_err();
            assert!(matches!(error, NetError::NameServers { .. }), "{error}");
            if let Ok(server) = bind(to(&[itself, next.address])).await {
                return server;
            }
        }
    };
    let server = soon("a port", bind).await;
    let itself = ([127, 0, 0, 1], server.address().port()).into();
    assert_eq!(addresses(&udp(itself, &query("example.org.", RecordType::A)).await).len(), 1);
    assert_eq!(next.asked().len(), 1);
}

#[tokio::test]
async fn a_question_that_comes_back_by_way_of_another_server_does_not_multiply() {
    let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let options = to(&[relay.local_addr().unwrap()]).with_forward_timeout(Duration::from_secs(1));
    let server = serve(options).await;
    let back = server.address();
    let relaying = async {
        let mut count = 0;
        let mut datagram = [0; 512];
        loop {
            let length = relay.recv(&mut datagram).await.unwrap();
            count += 1;
            // Three for each of the two rounds, and the rounds of what came back.
            assert!(count <= 12, "it multiplies");
            relay.send_to(&datagram[..length], back).await.unwrap();
        }
    };
    let ask = query("example.org.", RecordType::A);
    let answer = tokio::select! {
        biased;
        () = relaying => unreachable!("it relays for ever"),
        answer = udp(back, &ask) => answer,
    };
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn no_connection_to_others_outlives_its_answer_or_the_server_or_its_tasks() {
    for end in ["answer", "server", "tasks"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = UdpSocket::bind(listener.local_addr().unwrap()).await.unwrap();
        let tasks = Tasks::new();
        let options = to(&[socket.local_addr().unwrap()]).with_forward_timeout(Duration::MAX);
        let server = DnsServer::bind(([127, 0, 0, 1], 0).into(), zone(), options, &tasks).await.unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(&query("example.org.", RecordType::A), server.address()).await.unwrap();
        let asked = async {
            let mut datagram = [0; 512];
            let (length, client) = socket.recv_from(&mut datagram).await.unwrap();
            let short = known(&Message::from_vec(&datagram[..length]).unwrap(), 0).truncate();
            socket.send_to(&short.to_vec().unwrap(), client).await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut query = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut query).await.unwrap();
            (stream, query)
        };
        let (mut stream, asked) = soon("the question over TCP", Box::pin(asked)).await;
        let mut server = Some(server);
        match end {
            "answer" => {
                let whole = known(&Message::from_vec(&asked).unwrap(), 1).to_vec().unwrap();
                stream.write_u16(whole.len().try_into().unwrap()).await.unwrap();
                stream.write_all(&whole).await.unwrap();
            }
            "server" => drop(server.take()),
            _ => soon("the end", tasks.shutdown()).await,
        }
        assert_eq!(soon("the end", stream.read(&mut [0; 1])).await.unwrap(), 0, "{end}");
    }
}

#[tokio::test]
async fn no_more_questions_are_under_way_than_may_be_and_names_of_ours_do_not_wait_for_them() {
    let stalled = Other::stalled([127, 0, 0, 1]).await;
    let server = serve(to(&[stalled.address]).with_forward_timeout(Duration::from_secs(600))).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server.address()).await.unwrap();
    let mut answer = [0; 512];
    let mut sent = 0;
    let refusal = loop {
        sent += 1;
        let ask = query(&format!("n{sent}.example.org."), RecordType::A);
        socket.send(&ask).await.unwrap();
        // Those that wait say nothing: the next one follows when this one was read.
        let ours = udp(server.address(), &query("cart.shop.svc.cluster.local.", RecordType::A)).await;
        assert_eq!(addresses(&ours).len(), 1);
        if let Ok(length) = socket.try_recv(&mut answer) {
            break Message::from_vec(&answer[..length]).unwrap();
        }
    };
    assert_eq!(sent, 129);
    assert_eq!(refusal.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(refusal.queries[0].name.to_ascii(), "n129.example.org.");
}
