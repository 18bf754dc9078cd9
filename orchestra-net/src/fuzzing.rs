//! What the fuzz targets call: the parts that read what strangers send, and what must hold of them.

use std::net::{Ipv4Addr, SocketAddr};

use hickory_proto::op::{Message, OpCode};
use hickory_proto::rr::{RData, Record};

use crate::discovery::dns_message::{LARGEST_UDP, Reply, reply};
use crate::proxy_protocol::{Parsed, parse};
use crate::{ProxyProtocol, ServiceRecord, Target, Zone};

pub use crate::http::fuzzing::request;

/// A DNS query: what answers it, is an answer, and fits.
///
/// # Panics
/// Where that is not so.
pub fn dns(query: &[u8]) {
    let zone = Zone::new("cluster.local");
    let at = |last| Ipv4Addr::new(10, 0, 0, last).into();
    let target = Target { address: at(1), hostname: "a".into(), ports: Vec::new() };
    let records = [
        ("shop", ServiceRecord { address: Some(at(9)), ..ServiceRecord::default() }),
        ("headless", ServiceRecord { targets: vec![target], ..ServiceRecord::default() }),
        ("other", ServiceRecord { alias: "example.org".into(), ..ServiceRecord::default() }),
    ];
    records.into_iter().for_each(|(name, record)| zone.set("default", name, record));
    for (udp, forwards) in [(true, false), (false, false), (true, true), (false, true)] {
        let answer = match reply(&zone, query, udp, forwards) {
            None => continue,
            Some(Reply::Here(answer)) => answer,
            Some(Reply::Elsewhere(question)) => {
                assert!(forwards, "nobody else is asked");
                // As if somebody said as much as we do.
                let mut found = Message::response(0, OpCode::Query);
                let address = RData::A(Ipv4Addr::new(192, 0, 2, 1).into());
                found.add_answer(Record::from_rdata(question.name.clone(), 60, address));
                let Some(answer) = question.answered(Ok(found)) else { continue };
                answer
            }
        };
        assert!(answer.len() >= 12 && answer[..2] == query[..2] && answer[2] & 0x80 != 0, "no answer to it");
        assert!(!udp || answer.len() <= usize::from(LARGEST_UDP), "it does not fit");
    }
}

/// The begin of a connection with the PROXY protocol: a header is within what came, what comes behind it changes nothing, and
/// what it says can be said again.
///
/// # Panics
/// Where that is not so.
pub fn proxy_protocol(bytes: &[u8]) {
    let Parsed::Whole(source, length) = parse(bytes) else { return };
    assert_eq!(parse(&bytes[..length]), Parsed::Whole(source, length), "what comes behind it counts");
    let Some(source) = source else { return };
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let again = version.header(source, SocketAddr::new(source.ip(), 80)).expect("two of one family");
        assert_eq!(parse(&again), Parsed::Whole(Some(source), again.len()));
    }
}
