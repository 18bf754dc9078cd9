//! Names that others know, asked for over UDP and TCP.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use orchestra_core::engine::Tasks;
use orchestra_net::{DnsForward, DnsOptions, DnsServer, ServiceRecord, Zone};
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
        let (socket, listener) = loop {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
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
    async fn stalled() -> Self {
        Self::start(|_| Vec::new()).await
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

fn known(query: &Message, count: u8) -> Message {
    let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.recursion_available = true;
    answer.add_queries(query.queries.clone());
    let record =
        |i| Record::from_rdata(query.queries[0].name.clone(), 60, RData::A(A(Ipv4Addr::new(192, 0, 2, i))));
    answer.add_answers((0..count).map(record));
    answer
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
    let ask = query("Example.org.", RecordType::A);
    for answer in [udp(server.address(), &ask).await, tcp(server.address(), &ask).await] {
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert!(answer.metadata.recursion_available && !answer.metadata.authoritative);
        assert_eq!(answer.queries[0].name.to_ascii(), "Example.org.");
        assert_eq!(addresses(&answer).len(), 2);
    }
    let asked = other.asked();
    let ids: BTreeSet<u16> = asked.iter().map(|asked| asked.query.metadata.id).collect();
    let ports: BTreeSet<u16> = asked.iter().map(|asked| asked.client.port()).collect();
    assert!(ids.len() == 2 && !ids.contains(&77), "an identity of its own for each: {ids:?}");
    assert_eq!(ports.len(), 2, "and a port");
    assert!(asked.iter().all(|asked| asked.query.metadata.recursion_desired && asked.query.edns.is_none()));

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
    assert_eq!(other.asked().len(), 3);
}

#[tokio::test]
async fn a_service_that_stands_for_a_name_elsewhere_has_its_addresses() {
    let other = Other::knows(1).await;
    let server = serve(to(&[other.address])).await;
    let answer = udp(server.address(), &query("mail.shop.svc.cluster.local.", RecordType::A)).await;
    let types: Vec<_> = answer.answers.iter().map(Record::record_type).collect();
    assert_eq!(types, [RecordType::CNAME, RecordType::A]);
    assert_eq!(answer.queries[0].name.to_ascii(), "mail.shop.svc.cluster.local.");
    assert_eq!(other.asked()[0].query.queries[0].name.to_ascii(), "mail.example.org.");
}

#[tokio::test]
async fn what_fits_no_datagram_is_fetched_for_those_who_ask_over_tcp() {
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
    assert_eq!(other.asked().len(), 1, "the client comes again");
    assert_eq!(addresses(&tcp(server.address(), &ask).await).len(), 200);
    let asked: Vec<bool> = other.asked().iter().map(|asked| asked.tcp).collect();
    assert_eq!(asked, [false, false, true]);
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
    assert!(whole.edns.unwrap().flags().dnssec_ok);
    let edns = other.asked()[0].query.edns.clone().unwrap();
    assert_eq!((edns.max_payload(), edns.flags().dnssec_ok), (1232, true));
    for payload in [None, Some(512), Some(900)] {
        let short = udp(server.address(), &ask(payload)).await;
        assert!(short.metadata.truncation && short.answers.is_empty(), "{payload:?}");
        assert_eq!(short.edns.is_some(), payload.is_some());
    }
}

#[tokio::test]
async fn whoever_says_nothing_is_asked_last_and_nobody_waits_for_ever() {
    let (stalled, well) = (Other::stalled().await, Other::knows(1).await);
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let limit = Duration::from_secs(2);
    let options = to(&[stalled.address, nobody, well.address]).with_forward_timeout(limit);
    let server = serve(options).await;
    let ask = query("example.org.", RecordType::A);
    for _ in 0..3 {
        assert_eq!(addresses(&udp(server.address(), &ask).await).len(), 1);
    }
    assert_eq!((stalled.asked().len(), well.asked().len()), (1, 3), "it is not asked again at once");

    let options = to(&[stalled.address]).with_forward_timeout(Duration::from_millis(300));
    let server = serve(options).await;
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
    let codes = [ResponseCode::Refused, ResponseCode::ServFail, ResponseCode::NotImp];
    let mut others = Vec::new();
    for code in codes {
        others.push(Other::start(move |asked| vec![failure(&asked.query, code).to_vec().unwrap()]).await);
    }
    let mut servers: Vec<SocketAddr> = others.iter().map(|other| other.address).collect();
    servers.push(loses.address);
    let server = serve(to(&servers).with_forward_timeout(crate::PATIENCE)).await;
    assert_eq!(addresses(&udp(server.address(), &query("example.org.", RecordType::A)).await).len(), 1);
    let asked = loses.asked();
    assert_eq!(asked[0].query, asked[1].query);
    assert_eq!(asked[0].client, asked[1].client, "an answer that is late would be heard, too");
    // That there is none is an answer.
    let knows_none =
        Other::start(|asked| vec![failure(&asked.query, ResponseCode::NXDomain).to_vec().unwrap()]).await;
    let server = serve(to(&[knows_none.address, loses.address])).await;
    let answer = udp(server.address(), &query("example.org.", RecordType::A)).await;
    assert_eq!((answer.metadata.response_code, loses.asked().len()), (ResponseCode::NXDomain, 2));
}

#[tokio::test]
async fn what_does_not_answer_the_question_is_not_heard() {
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let other = Other::start(move |asked| {
        let right = known(&asked.query, 1);
        stranger.send_to(&known(&asked.query, 9).to_vec().unwrap(), asked.client).unwrap();
        let with = |change: &dyn Fn(&mut Message)| {
            let mut wrong = known(&asked.query, 9);
            change(&mut wrong);
            wrong.to_vec().unwrap()
        };
        vec![
            b"nonsense".to_vec(),
            with(&|wrong| wrong.metadata.id ^= 1),
            with(&|wrong| wrong.metadata.message_type = MessageType::Query),
            with(&|wrong| wrong.queries[0].name = Name::from_ascii("example.com.").unwrap()),
            with(&|wrong| wrong.queries[0].query_type = RecordType::AAAA),
            with(&|wrong| drop(wrong.queries.pop())),
            with(&|wrong| drop(wrong.add_query(Query::default()).clone())),
            right.to_vec().unwrap(),
        ]
    })
    .await;
    let server = serve(to(&[other.address])).await;
    assert_eq!(addresses(&udp(server.address(), &query("example.org.", RecordType::A)).await).len(), 1);
}

#[tokio::test]
async fn a_server_that_is_told_to_ask_itself_asks_the_next_one() {
    let next =
        Other::start(|asked| vec![failure(&asked.query, ResponseCode::ServFail).to_vec().unwrap()]).await;
    // At all of this host's addresses, so that it is not its own by its name.
    let bind = async {
        loop {
            let port = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
            let options = to(&[([127, 0, 0, 9], port).into(), next.address]);
            if let Ok(server) =
                DnsServer::bind(([0, 0, 0, 0], port).into(), zone(), options, &Tasks::new()).await
            {
                return server;
            }
        }
    };
    let server = soon("a port", bind).await;
    let address = ([127, 0, 0, 1], server.address().port()).into();
    let ask = query("example.org.", RecordType::A);
    assert_eq!(udp(address, &ask).await.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(next.asked().len(), 1, "each time that it asks itself it would ask the next one, too");
}

#[tokio::test]
async fn no_more_questions_are_under_way_than_may_be_and_names_of_ours_do_not_wait_for_them() {
    let stalled = Other::stalled().await;
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
    assert_eq!(sent, 257);
    assert_eq!(refusal.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(refusal.queries[0].name.to_ascii(), "n257.example.org.");
}
