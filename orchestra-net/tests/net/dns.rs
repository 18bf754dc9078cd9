//! Names, asked for over UDP and TCP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use orchestra_core::engine::Tasks;
use orchestra_net::{DnsOptions, DnsServer, NamedPort, ServiceRecord, Target, Zone};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::soon;

pub(crate) fn record(address: Option<IpAddr>, targets: u8) -> ServiceRecord {
    let port =
        NamedPort { name: "http".to_owned(), protocol: orchestra_core::model::Protocol::Tcp, port: 80 };
    let mut record = ServiceRecord::default();
    record.address = address;
    record.ports = vec![port.clone()];
    let target =
        |i| Target { address: [10, 0, 0, i].into(), hostname: String::new(), ports: vec![port.clone()] };
    record.targets = (0..targets).map(target).collect();
    record
}

pub(crate) fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.metadata.recursion_desired = true;
    message.to_vec().unwrap()
}

pub(crate) async fn udp(server: SocketAddr, query: &[u8]) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(query, server).await.unwrap();
    let mut answer = [0; 4096];
    let n = soon("an answer", socket.recv(&mut answer)).await.unwrap();
    let message = Message::from_vec(&answer[..n]).unwrap();
    assert_eq!((message.metadata.id, message.metadata.message_type), (77, MessageType::Response));
    message
}

pub(crate) async fn tcp(server: SocketAddr, query: &[u8]) -> Message {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_u16(query.len().try_into().unwrap()).await.unwrap();
    stream.write_all(query).await.unwrap();
    let length = soon("an answer", stream.read_u16()).await.unwrap();
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

pub(crate) fn addresses(message: &Message) -> Vec<Ipv4Addr> {
    let address = |data: &RData| if let RData::A(a) = data { Some(a.0) } else { None };
    message.answers.iter().filter_map(|record| address(&record.data)).collect()
}

async fn server() -> (DnsServer, Zone) {
    let zone = Zone::new("cluster.local");
    zone.set("shop", "cart", record(Some([127, 0, 64, 1].into()), 0));
    zone.set("shop", "db", record(None, 3));
    zone.set("shop", "many", record(None, 200));
    let server =
        DnsServer::bind(([127, 0, 0, 1], 0).into(), zone.clone(), DnsOptions::default(), &Tasks::new())
            .await
            .unwrap();
    (server, zone)
}

#[tokio::test]
async fn services_have_names_over_udp_and_tcp() {
    let (server, zone) = server().await;
    let ask = query("Cart.shop.svc.cluster.local.", RecordType::A);
    for answer in [udp(server.address(), &ask).await, tcp(server.address(), &ask).await] {
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert!(answer.metadata.authoritative && answer.metadata.recursion_desired);
        assert_eq!(addresses(&answer), [Ipv4Addr::new(127, 0, 64, 1)]);
        assert_eq!(answer.queries.len(), 1);
    }
    let headless = udp(server.address(), &query("db.shop.svc.cluster.local.", RecordType::A)).await;
    assert_eq!(addresses(&headless).len(), 3);
    let srv = udp(server.address(), &query("_http._tcp.cart.shop.svc.cluster.local.", RecordType::SRV)).await;
    assert!(
        matches!(&srv.answers[0].data, RData::SRV(srv) if srv.port == 80 && srv.target.to_ascii() == "cart.shop.svc.cluster.local.")
    );
    let pod = udp(server.address(), &query("10-0-0-9.shop.pod.cluster.local.", RecordType::A)).await;
    assert_eq!(addresses(&pod), [Ipv4Addr::new(10, 0, 0, 9)]);
    zone.set("shop", "cart", record(Some([127, 0, 64, 2].into()), 0));
    assert_eq!(addresses(&udp(server.address(), &ask).await), [Ipv4Addr::new(127, 0, 64, 2)]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn whoever_asks_one_of_many_addresses_is_answered_from_that_one() {
    let zone = Zone::new("cluster.local");
    zone.set("shop", "cart", record(Some([127, 0, 64, 1].into()), 0));
    let server =
        DnsServer::bind(([0, 0, 0, 0], 0).into(), zone, DnsOptions::default(), &Tasks::new()).await.unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for asked in [[127, 0, 0, 1], [127, 0, 0, 9]] {
        client.connect(SocketAddr::from((asked, server.address().port()))).await.unwrap();
        client.send(&query("cart.shop.svc.cluster.local.", RecordType::A)).await.unwrap();
        let mut answer = [0; 512];
        let length = soon("the answer", client.recv(&mut answer)).await.unwrap();
        assert_eq!(addresses(&Message::from_vec(&answer[..length]).unwrap()).len(), 1);
    }
}

#[tokio::test]
async fn what_does_not_fit_a_datagram_is_asked_for_again_over_tcp() {
    let (server, _zone) = server().await;
    let ask = query("many.shop.svc.cluster.local.", RecordType::A);
    let short = udp(server.address(), &ask).await;
    assert!(short.metadata.truncation && short.answers.is_empty());
    assert_eq!(addresses(&tcp(server.address(), &ask).await).len(), 200);
}

#[tokio::test]
async fn what_was_not_asked_for_is_left_out_before_an_answer_is_cut_off() {
    let (server, zone) = server().await;
    zone.set("shop", "seven", record(None, 7));
    let ask = query("_http._tcp.seven.shop.svc.cluster.local.", RecordType::SRV);
    let whole = tcp(server.address(), &ask).await;
    assert_eq!((whole.answers.len(), whole.additionals.len()), (7, 7));
    assert!(whole.to_vec().unwrap().len() > 512);
    let short = udp(server.address(), &ask).await;
    assert_eq!((short.answers.len(), short.additionals.len(), short.metadata.truncation), (7, 0, false));
}

#[tokio::test]
async fn what_is_not_there_is_said_so_and_other_zones_are_refused() {
    let (server, _zone) = server().await;
    let code = async |name: &str, kind| udp(server.address(), &query(name, kind)).await;
    let missing = code("x.shop.svc.cluster.local.", RecordType::A).await;
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    assert!(matches!(missing.authorities[0].data, RData::SOA(_)), "how long that may be kept");
    let other_family = code("cart.shop.svc.cluster.local.", RecordType::AAAA).await;
    assert_eq!((other_family.metadata.response_code, other_family.answers.len()), (ResponseCode::NoError, 0));
    let elsewhere = code("example.com.", RecordType::A).await;
    assert_eq!(elsewhere.metadata.response_code, ResponseCode::Refused);
}

#[tokio::test]
async fn nonsense_is_answered_or_ignored_and_hurts_nobody() {
    let (server, _zone) = server().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for nonsense in [&b""[..], b"x", &[0; 11], &[0xff; 12], &[0xff; 700]] {
        socket.send_to(nonsense, server.address()).await.unwrap();
    }
    let mut cut = query("cart.shop.svc.cluster.local.", RecordType::A);
    cut.truncate(20);
    let malformed = udp(server.address(), &cut).await;
    assert_eq!(malformed.metadata.response_code, ResponseCode::FormErr);
    let mut update = Message::new(77, MessageType::Query, OpCode::Update);
    update.add_query(Query::query(Name::from_ascii("cluster.local.").unwrap(), RecordType::SOA));
    let update = udp(server.address(), &update.to_vec().unwrap()).await;
    assert_eq!(update.metadata.response_code, ResponseCode::NotImp);
    let ask = query("cart.shop.svc.cluster.local.", RecordType::A);
    assert_eq!(addresses(&udp(server.address(), &ask).await).len(), 1);
}
