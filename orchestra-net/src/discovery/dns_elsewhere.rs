//! Queries that other servers are to answer.

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};

use super::Zone;
use super::dns_message::{LARGEST_UDP, extensions, fitting};

/// A query that other servers are to answer.
pub(crate) struct Elsewhere {
    /// What they are asked, under an identity that nobody can guess.
    pub(crate) query: Message,
    /// What is known here: which name stands for the one that they are asked for.
    response: Message,
    /// How long the answer may be, in bytes.
    limit: u16,
}

impl Elsewhere {
    /// The rest of `response`, the answer to `request`, is about `name`.
    pub(super) fn new(
        request: &Message,
        question: &Query,
        name: Name,
        response: Message,
        limit: u16,
    ) -> Self {
        let mut query = Message::query();
        let (flags, asked) = (&mut query.metadata, &request.metadata);
        flags.recursion_desired = asked.recursion_desired;
        flags.authentic_data = asked.authentic_data;
        flags.checking_disabled = asked.checking_disabled;
        query.add_query(Query::query(name, question.query_type));
        // Old servers understand what their clients ask, and would not understand more. What else is in there is between the client and us.
        if let Some(asked) = &request.edns {
            query.set_edns(extensions(limit.min(LARGEST_UDP), asked.flags().dnssec_ok));
        }
        Self { query, response, limit }
    }

    /// The answer, with what they say or why they say nothing.
    pub(crate) fn answered(mut self, found: Result<Message, ResponseCode>) -> Option<Vec<u8>> {
        let response = &mut self.response;
        match found {
            Err(code) => response.metadata.response_code = code,
            Ok(found) => {
                let flags = &mut response.metadata;
                flags.response_code = found.metadata.response_code;
                flags.truncation = found.metadata.truncation;
                // Nobody has vouched for a name of ours.
                flags.authentic_data = found.metadata.authentic_data && response.answers.is_empty();
                response.add_answers(found.answers);
                response.add_authorities(found.authorities);
                response.add_additionals(found.additionals);
            }
        }
        fitting(response, self.limit)
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
