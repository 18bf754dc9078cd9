//! The cluster's names, asked for as a resolver asks.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use orchestra::BuildError;
use orchestra::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::common::{Dir, LIMIT, until};
use crate::node;

/// Asks over UDP and over TCP, which answer the same, unless what is known changes in between.
async fn ask(server: SocketAddr, name: &str, kind: RecordType) -> Message {
    let mut query = Message::new(7, MessageType::Query, OpCode::Query);
    query.add_query(Query::query(Name::from_ascii(format!("{name}.")).unwrap(), kind));
    let query = query.to_vec().unwrap();
    let asking = async {
        loop {
            let [answer, over_tcp] = [ask_udp(server, &query).await, ask_tcp(server, &query).await];
            if answer.metadata.response_code == over_tcp.metadata.response_code {
                return answer;
            }
        }
    };
    tokio::time::timeout(LIMIT, asking).await.expect("the same answer over UDP and TCP")
}

async fn ask_udp(server: SocketAddr, query: &[u8]) -> Message {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.send_to(query, server).await.unwrap();
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut answer).await.unwrap();
    Message::from_vec(&answer[..length]).unwrap()
}

async fn ask_tcp(server: SocketAddr, query: &[u8]) -> Message {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_u16(query.len().try_into().unwrap()).await.unwrap();
    stream.write_all(query).await.unwrap();
    let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

async fn addresses(server: SocketAddr, name: &str) -> BTreeSet<IpAddr> {
    let answers = ask(server, name, RecordType::A).await.answers;
    let address = |data: &RData| if let RData::A(a) = data { Some(IpAddr::V4(a.0)) } else { None };
    answers.iter().filter_map(|record| address(&record.data)).collect()
}

/// The addresses of the ready pods of `web`.
async fn pods(cluster: &Cluster) -> BTreeSet<IpAddr> {
    let pods = cluster.list::<Pod>(&ListOptions::default()).await.unwrap().items;
    pods.iter().filter(|pod| pod.is_ready()).filter_map(|pod| pod.status.pod_ip).collect()
}

/// Waits until so many pods are available, and then until the names say the same.
async fn settled(cluster: &Cluster, server: SocketAddr, count: usize) -> BTreeSet<IpAddr> {
    until::<Deployment>(cluster, "web", |d| {
        d.is_some_and(|d| {
            d.status.available_replicas as usize == count && d.status.replicas as usize == count
        })
    })
    .await;
    let same = async {
        loop {
            let (known, there) =
                (addresses(server, "peers.default.svc.cluster.local").await, pods(cluster).await);
            if known == there && known.len() == count {
                return known;
            }
            // What was committed may not have been told yet; the look is cheap.
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, same).await.expect("the names say what is there")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_serves_its_names_until_it_has_ended_and_tells_its_pods() {
    let dir = Dir::new("dns");
    let builder = Cluster::builder().node(node(&dir.0, "node")).dns((Ipv4Addr::LOCALHOST, 0));
    let cluster = builder.start().await.unwrap();
    let server = cluster.dns_address().unwrap();
    cluster.apply(Deployment::new("web").image("one:1").replicas(2).named_port("http", 8080)).await.unwrap();
    let service =
        cluster.apply(Service::new("web").named_port("http", 80).target_port(8080)).await.unwrap().object;
    let peers = Service::new("peers").selector([("app", "web")]).named_port("http", 8080).headless();
    cluster.apply(peers).await.unwrap();

    let two = settled(&cluster, server, 2).await;
    let cluster_ip: IpAddr = service.spec.cluster_ip.parse().unwrap();
    assert_eq!(addresses(server, "web.default.svc.cluster.local").await, [cluster_ip].into());
    let srv = ask(server, "_http._tcp.peers.default.svc.cluster.local", RecordType::SRV).await;
    let ports: Vec<_> = srv
        .answers
        .iter()
        .filter_map(|r| if let RData::SRV(srv) = &r.data { Some(srv.port) } else { None })
        .collect();
    assert_eq!(ports, [8080, 8080]);
    let missing = ask(server, "none.default.svc.cluster.local", RecordType::A).await;
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);

    cluster.scale::<Deployment>("web", 3).await.unwrap();
    let three = settled(&cluster, server, 3).await;
    assert!(two.is_subset(&three));
    cluster.delete::<Service>("peers", &DeleteOptions::default()).await.unwrap();
    let gone = async {
        while !addresses(server, "peers.default.svc.cluster.local").await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, gone).await.expect("the name goes with its service");

    let pod = cluster.list::<Pod>(&ListOptions::default()).await.unwrap().items.swap_remove(0);
    let environment = ExecOptions::new(["/usr/bin/env"]);
    let output =
        cluster.pod(&pod.metadata.name).exec(&environment).await.unwrap().wait_with_output().await.unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let told = |line: &str| output.lines().any(|l| l == line);
    assert!(told(&format!("ORCHESTRA_DNS={server}")), "{output}");
    assert!(
        told("ORCHESTRA_DNS_SEARCH=default.svc.cluster.local svc.cluster.local cluster.local"),
        "{output}"
    );

    cluster.stop().await;
    // A test beside this one may have the port for the moment of a question.
    let free = async {
        while UdpSocket::bind(server).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, free).await.expect("nobody listens there any more");
    TcpStream::connect(server).await.unwrap_err();
}

#[cfg(feature = "dns-forward")]
#[tokio::test(flavor = "multi_thread")]
async fn other_names_are_asked_of_others_where_that_is_said() {
    use hickory_proto::rr::Record;
    use orchestra::net::{DnsForward, DnsOptions};
    let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let forward = DnsForward::To(vec![other.local_addr().unwrap()]);
    let options = DnsOptions::default().with_forward(forward);
    let builder = Cluster::builder().dns((Ipv4Addr::LOCALHOST, 0)).dns_options(options);
    let cluster = builder.start().await.unwrap();
    let answering = async {
        let mut query = [0; 512];
        loop {
            let (length, client) = other.recv_from(&mut query).await.unwrap();
            let query = Message::from_vec(&query[..length]).unwrap();
            let mut answer = query.clone().into_response();
            let address = RData::A(Ipv4Addr::new(192, 0, 2, 1).into());
            answer.add_answer(Record::from_rdata(query.queries[0].name.clone(), 60, address));
            other.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
        }
    };
    let found = tokio::select! {
        biased;
        () = answering => unreachable!("it answers for ever"),
        found = addresses(cluster.dns_address().unwrap(), "example.org") => found,
    };
    assert_eq!(found, [IpAddr::from([192, 0, 2, 1])].into());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_served_unless_asked_for_nor_where_that_is_not_possible() {
    let cluster = Cluster::builder().start().await.unwrap();
    assert_eq!(cluster.dns_address(), None);
    cluster.stop().await;
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let error = Cluster::builder().dns(taken.local_addr().unwrap()).start().await.unwrap_err();
    assert!(matches!(error, BuildError::Dns(_)), "{error}");
}
