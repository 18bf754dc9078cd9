//! Queries that other servers are to answer.

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};

use super::Zone;
use super::dns_message::fitting;

/// A query that other servers are to answer.
pub(crate) struct Elsewhere {
    /// What they are asked about.
    pub(crate) name: Name,
    pub(crate) kind: RecordType,
    /// What is known here: which name stands for the one that they are asked for.
    response: Message,
    /// How long the answer may be, in bytes.
    limit: u16,
}

impl Elsewhere {
    /// The rest of `response`, the answer to `question`, is about `name`.
    pub(super) fn new(question: &Query, name: Name, response: Message, limit: u16) -> Self {
        Self { name, kind: question.query_type, response, limit }
    }

    /// The answer, with what they say or why they say nothing.
    pub(crate) fn answered(mut self, found: Result<Message, ResponseCode>) -> Option<Vec<u8>> {
        let response = &mut self.response;
        match found {
            Err(code) => response.metadata.response_code = code,
            Ok(found) => {
                response.metadata.response_code = found.metadata.response_code;
                response.add_answers(found.answers);
                response.add_authorities(found.authorities);
                response.add_additionals(found.additionals);
            }
        }
        fitting(self.response, self.limit)
    }
}

/// Whether others may be asked that: about names of the internet, one by one.
pub(super) fn may_leave(question: &Query) -> bool {
    question.query_class == DNSClass::IN
        && !matches!(question.query_type, RecordType::AXFR | RecordType::IXFR)
}

/// Whether `name` is that of an address in this zone (`1.0.0.10.in-addr.arpa`): who has that is nobody else's to say.
pub(super) fn is_address_of(zone: &Zone, name: &Name) -> bool {
    let whole = name.parse_arpa_name().ok().filter(|net| net.prefix_len() == net.max_prefix_len());
    whole.is_some_and(|net| zone.has(net.addr()))
}
