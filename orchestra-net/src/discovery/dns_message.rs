//! From a DNS query to its answer, as bytes.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::dns_elsewhere::{Elsewhere, is_address_of, may_leave};
use super::{Answer, Question, Zone};

/// How long an answer may be kept, in seconds. Kubernetes' choice: pods come and go.
const TTL: u32 = 5;

/// The largest answer over UDP where the client doesn't say that it takes more (RFC 1035).
const PLAIN_UDP: u16 = 512;

/// The largest answer over UDP at all: what passes every network in one piece.
pub(crate) const LARGEST_UDP: u16 = 1232;

/// How many names may stand for one another, one after the other.
const ALIASES: usize = 8;

/// What a query leads to.
pub(crate) enum Reply {
    /// To this answer.
    Here(Vec<u8>),
    /// To other servers.
    Elsewhere(Box<Elsewhere>),
}

/// What `query` leads to; `None` where it is not a query at all. `udp`: whether the answer must fit a datagram. `forwards`: whether
/// other servers are asked.
pub(crate) fn reply(zone: &Zone, query: &[u8], udp: bool, forwards: bool) -> Option<Reply> {
    let Ok(request) = Message::from_vec(query) else { return malformed(query).map(Reply::Here) };
    if request.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut response = Message::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
    response.metadata = Metadata::response_from_request(&request.metadata);
    response.metadata.recursion_available = forwards;
    // The names of several questions can be longer than a datagram, and no server answers several (RFC 9619): they are not repeated.
    // So what a truncated answer has left is one name of up to 255 bytes at most, and fits.
    if let [question] = request.queries.as_slice() {
        response.add_query(question.clone());
    }
    let mut limit = PLAIN_UDP;
    let mut newer = false;
    if let Some(asked) = &request.edns {
        newer = asked.version() > 0;
        limit = asked.max_payload().clamp(PLAIN_UDP, LARGEST_UDP);
        let mut edns = Edns::new();
        edns.set_max_payload(LARGEST_UDP);
        response.set_edns(edns);
    }
    if !udp {
        limit = u16::MAX;
    }
    response.metadata.response_code = match (request.metadata.op_code, request.queries.as_slice()) {
        _ if newer => ResponseCode::BADVERS,
        (OpCode::Query, [question]) => match fill(zone, question, request.metadata.id, &mut response) {
            Filled::Here(code) => code,
            Filled::Elsewhere(name) if forwards && is_address_of(zone, &name) => ResponseCode::NXDomain,
            Filled::Elsewhere(name) if forwards && may_leave(question) => {
                let rest = Elsewhere::new(question, name, response, limit);
                return Some(Reply::Elsewhere(Box::new(rest)));
            }
            Filled::Elsewhere(_) if response.answers.is_empty() => ResponseCode::Refused,
            Filled::Elsewhere(_) => ResponseCode::NoError,
        },
        (OpCode::Query, _) => ResponseCode::FormErr,
        _ => ResponseCode::NotImp,
    };
    fitting(response, limit).map(Reply::Here)
}

/// As bytes; where they are too many, without what nobody asked for, which is no loss that is to be told of (RFC 2181, 9), or without any
/// records.
pub(super) fn fitting(mut response: Message, limit: u16) -> Option<Vec<u8>> {
    let fits = |bytes: &Vec<u8>| bytes.len() <= usize::from(limit);
    let whole = response.to_vec().ok()?;
    if fits(&whole) {
        return Some(whole);
    }
    response.additionals.clear();
    if !response.answers.is_empty() {
        response.authorities.clear();
    }
    let answers = response.to_vec().ok()?;
    if fits(&answers) { Some(answers) } else { response.truncate().to_vec().ok() }
}

/// Says so to who sent something that can't be read, where at least its identity can.
fn malformed(query: &[u8]) -> Option<Vec<u8>> {
    let id = u16::from_be_bytes([*query.first()?, *query.get(1)?]);
    let is_answer = query.get(2)? & 0x80 != 0;
    if is_answer || query.len() < 12 {
        return None;
    }
    Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok()
}

/// What is known here.
enum Filled {
    /// All there is to it.
    Here(ResponseCode),
    /// The rest is what others say about this name.
    Elsewhere(Name),
}

fn fill(zone: &Zone, question: &Query, id: u16, response: &mut Message) -> Filled {
    if !matches!(question.query_class, DNSClass::IN | DNSClass::ANY) {
        return Filled::Here(ResponseCode::Refused);
    }
    let asked = match question.query_type {
        RecordType::A | RecordType::AAAA | RecordType::ANY => Question::Addresses,
        RecordType::SRV => Question::Service,
        _ => Question::Other,
    };
    let mut name = question.name.clone();
    let mut found = zone.lookup(&name.to_ascii(), asked);
    if found == Answer::Elsewhere {
        return Filled::Elsewhere(name);
    }
    response.metadata.authoritative = true;
    // Stub resolvers do not ask for what another name stands for: as much of it as is known here is said at once (RFC 1034, 4.3.2).
    for _ in 0..ALIASES {
        let Answer::Alias(other) = &found else { break };
        let Ok(other) = Name::from_ascii(format!("{}.", other.trim_end_matches('.'))) else { break };
        response.add_answer(record(&name, RData::CNAME(CNAME(other.clone()))));
        if question.query_type == RecordType::CNAME {
            break;
        }
        name = other;
        found = zone.lookup(&name.to_ascii(), asked);
    }
    let code = if found == Answer::NoName { ResponseCode::NXDomain } else { ResponseCode::NoError };
    let aliases = response.answers.len();
    match found {
        Answer::Addresses(mut addresses) => {
            // Clients take the first one: which one that is differs from query to query.
            let turn = usize::from(id) % addresses.len().max(1);
            addresses.rotate_left(turn);
            addresses.retain(|address| fits(*address, question.query_type));
            response.add_answers(addresses.into_iter().map(|address| record(&name, at(address))));
        }
        Answer::Ports(ports) => {
            for (port, host, address) in ports {
                let Ok(host) = Name::from_ascii(format!("{host}.")) else { continue };
                response.add_additional(record(&host, at(address)));
                response.add_answer(record(&name, RData::SRV(SRV::new(0, 100, port, host))));
            }
        }
        Answer::Elsewhere => return Filled::Elsewhere(name),
        Answer::Alias(_) => return Filled::Here(code),
        Answer::Nothing | Answer::NoName => {}
    }
    if response.answers.len() == aliases
        && let Some(authority) = authority(zone)
    {
        response.add_authority(authority);
    }
    Filled::Here(code)
}

fn fits(address: IpAddr, asked: RecordType) -> bool {
    match asked {
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        _ => true,
    }
}

fn at(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL, data)
}

/// Says how long a missing answer may be kept: RFC 2308 takes it from the zone's SOA.
fn authority(zone: &Zone) -> Option<Record> {
    let name = Name::from_ascii(format!("{}.", zone.domain())).ok()?;
    let server = Name::from_ascii(format!("ns.dns.{}.", zone.domain())).ok()?;
    let host_master = Name::from_ascii(format!("hostmaster.{}.", zone.domain())).ok()?;
    Some(record(&name, RData::SOA(SOA::new(server, host_master, 1, 7200, 1800, 86_400, TTL))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ServiceRecord, Target};

    /// A name of 255 bytes, the most there is; `last` tells it from others.
    fn longest(last: char) -> Name {
        let label = |last| format!("{}{last}.", "a".repeat(62));
        Name::from_ascii(format!("{}{}", label(last).repeat(3), "a".repeat(61))).unwrap()
    }

    fn query(names: &[Name], op_code: OpCode, payload: Option<u16>) -> Vec<u8> {
        let mut query = Message::new(7, MessageType::Query, op_code);
        query.add_queries(names.iter().map(|name| Query::query(name.clone(), RecordType::A)));
        if let Some(payload) = payload {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            query.set_edns(edns);
        }
        query.to_vec().unwrap()
    }

    /// What is answered where nobody else is asked.
    fn answer(zone: &Zone, query: &[u8], udp: bool) -> Vec<u8> {
        match reply(zone, query, udp, false) {
            Some(Reply::Here(answer)) => answer,
            _ => panic!("it is answered here"),
        }
    }

    /// What is answered over UDP, and how long that is.
    fn over_udp(zone: &Zone, query: &[u8]) -> (Message, usize) {
        let bytes = answer(zone, query, true);
        (Message::from_vec(&bytes).unwrap(), bytes.len())
    }

    #[test]
    fn several_questions_are_refused_without_being_repeated() {
        let zone = Zone::new("cluster.local");
        let names: Vec<Name> = ('a'..='k').map(longest).collect();
        for payload in [None, Some(0), Some(u16::MAX)] {
            for (op_code, code) in
                [(OpCode::Query, ResponseCode::FormErr), (OpCode::Update, ResponseCode::NotImp)]
            {
                let asked = query(&names, op_code, payload);
                assert!(asked.len() > usize::from(LARGEST_UDP), "it would not fit");
                let (answer, length) = over_udp(&zone, &asked);
                assert!(length <= usize::from(PLAIN_UDP), "{length}");
                assert_eq!((answer.metadata.id, answer.metadata.response_code), (7, code));
                assert!(answer.queries.is_empty() && !answer.metadata.truncation);
            }
        }
    }

    #[test]
    fn answers_that_do_not_fit_say_so_and_fit() {
        let zone = Zone::new("cluster.local");
        let target =
            |last| Target { address: [10, 0, 0, last].into(), hostname: String::new(), ports: Vec::new() };
        let record = ServiceRecord { targets: (0..=255).map(target).collect(), ..ServiceRecord::default() };
        zone.set("default", "headless", record);
        let name = Name::from_ascii("headless.default.svc.cluster.local.").unwrap();
        for (payload, limit) in [(None, PLAIN_UDP), (Some(0), PLAIN_UDP), (Some(u16::MAX), LARGEST_UDP)] {
            let asked = query(std::slice::from_ref(&name), OpCode::Query, payload);
            let (truncated, length) = over_udp(&zone, &asked);
            assert!(length <= usize::from(limit), "{length}");
            assert!(truncated.metadata.truncation && truncated.answers.is_empty());
            assert_eq!(truncated.queries.len(), 1);
            let whole = Message::from_vec(&answer(&zone, &asked, false)).unwrap();
            assert_eq!((whole.answers.len(), whole.metadata.truncation), (256, false));
        }
        let asked = query(&[longest('a')], OpCode::Query, None);
        let (refused, length) = over_udp(&zone, &asked);
        assert!(length <= usize::from(PLAIN_UDP) && refused.queries.len() == 1, "{length}");
    }

    #[test]
    fn names_that_stand_for_others_are_answered_to_the_end_and_for_ever_never() {
        let zone = Zone::new("cluster.local");
        let alias = |to: &str| ServiceRecord { alias: to.to_owned(), ..ServiceRecord::default() };
        let address = ServiceRecord { address: Some([10, 0, 0, 1].into()), ..ServiceRecord::default() };
        zone.set("a", "cart", address);
        zone.set("a", "near", alias("cart.a.svc.cluster.local"));
        zone.set("a", "far", alias("example.org."));
        zone.set("a", "lost", alias("none.a.svc.cluster.local"));
        zone.set("a", "round", alias("round.a.svc.cluster.local"));
        let ask = |name: &str| {
            let name = Name::from_ascii(format!("{name}.a.svc.cluster.local.")).unwrap();
            let (answer, _) = over_udp(&zone, &query(&[name], OpCode::Query, None));
            let types: Vec<_> = answer.answers.iter().map(Record::record_type).collect();
            (answer.metadata.response_code, types, answer.authorities.len())
        };
        let (cname, a) = (RecordType::CNAME, RecordType::A);
        assert_eq!(ask("near"), (ResponseCode::NoError, vec![cname, a], 0));
        assert_eq!(ask("far"), (ResponseCode::NoError, vec![cname], 0));
        assert_eq!(ask("lost"), (ResponseCode::NXDomain, vec![cname], 1));
        assert_eq!(ask("round"), (ResponseCode::NoError, vec![cname; ALIASES], 0));
    }

    #[test]
    fn a_later_version_of_the_extensions_is_not_spoken() {
        let zone = Zone::new("cluster.local");
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        let mut edns = Edns::new();
        edns.set_version(1);
        query.add_query(Query::query(Name::from_ascii("cluster.local.").unwrap(), RecordType::A));
        query.set_edns(edns);
        let (answer, _) = over_udp(&zone, &query.to_vec().unwrap());
        // The number is BADSIG's, too.
        assert_eq!(u16::from(answer.metadata.response_code), u16::from(ResponseCode::BADVERS));
        assert_eq!(answer.edns.map(|edns| edns.version()), Some(0));
    }
}
