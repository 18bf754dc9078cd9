//! Asking other name servers, by hickory's resolver.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::Resolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ServerOrderingStrategy,
};
use hickory_resolver::net::{DnsError, NetError as ResolverError};
use orchestra_core::engine::Tasks;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::DnsOptions;
use super::dns_runtime::{Connector, Runtime};
use crate::error::NetError;

/// Questions under way at once: what a resolver that is not cached answers in 50 ms, asked 2500 times a second. Each has up to six
/// sockets while nobody answers: the resolver sends a datagram up to three times, to two servers at once. A process may have 1024.
const MAX_QUESTIONS: usize = 128;

/// Answers that are kept for as long as they may be, of some 500 bytes each.
const CACHED_ANSWERS: u64 = 4096;

/// How many servers are asked at once: one that is silent costs no time.
const SERVERS_AT_ONCE: usize = 2;

/// How often that is done: those that failed come last in the second round.
const ROUNDS: u8 = 2;

/// The longest that all servers may take together: the resolver panics where a time limit leads beyond what a clock shows.
const LONGEST: Duration = Duration::from_secs(3600);

/// Other name servers.
#[derive(Debug)]
pub(super) struct Forwarder {
    resolver: Resolver<Connector>,
    timeout: Duration,
    places: Arc<Semaphore>,
}

/// A question's place among those that may be under way.
pub(super) type Place = OwnedSemaphorePermit;

impl Forwarder {
    /// Asks those whom the options name, for the server at `address`, where there are any. Works in `tasks`, until `own` are to end.
    pub(super) fn new(
        options: &DnsOptions,
        address: SocketAddr,
        tasks: &Tasks,
        own: &Tasks,
    ) -> Result<Option<Self>, NetError> {
        let servers = options.forward.servers(address)?;
        if servers.is_empty() {
            return Ok(None);
        }
        let timeout = options.forward_timeout.min(LONGEST);
        let config = ResolverConfig::from_name_servers(servers.into_iter().map(name_server).collect());
        let connector = Connector(Runtime::new(tasks.clone(), own.clone()));
        let mut builder = Resolver::builder_with_config(config, connector);
        let settings = builder.options_mut();
        settings.timeout = timeout / u32::from(ROUNDS);
        settings.attempts = usize::from(ROUNDS) - 1;
        settings.num_concurrent_reqs = SERVERS_AT_ONCE;
        settings.server_ordering_strategy = ServerOrderingStrategy::QueryStatistics;
        settings.cache_size = CACHED_ANSWERS;
        settings.use_hosts_file = ResolveHosts::Never;
        let resolver =
            builder.build().map_err(|error| options.forward.failed(std::io::Error::other(error)))?;
        let places = Arc::new(Semaphore::new(MAX_QUESTIONS));
        Ok(Some(Self { resolver, timeout, places }))
    }

    /// A place for a question, or how it is answered where there are too many.
    pub(super) fn admit(&self) -> Result<Place, ResponseCode> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_full| {
            tracing::debug!(most = MAX_QUESTIONS, "as many DNS questions are passed on as may be");
            ResponseCode::ServFail
        })
    }

    /// What the others know of that kind about `name`, which is asked for as it is.
    pub(super) async fn ask(
        &self,
        name: Name,
        kind: RecordType,
        _place: Place,
    ) -> Result<Message, ResponseCode> {
        let asking = timeout(self.timeout, self.resolver.lookup(name.clone(), kind));
        let error = match asking.await.unwrap_or(Err(ResolverError::Timeout)) {
            Ok(found) => return Ok(named(&name, found.into())),
            Err(ResolverError::Dns(DnsError::NoRecordsFound(nothing))) => {
                let mut answer = Message::response(0, OpCode::Query);
                answer.metadata.response_code = nothing.response_code;
                // It says how long that may be kept: for what is left of its least (RFC 2308, 5).
                let mut authority = nothing.soa.map(|soa| soa.into_record_of_rdata());
                if let (Some(authority), Some(left)) = (&mut authority, nothing.negative_ttl) {
                    authority.ttl = authority.ttl.min(left);
                }
                answer.add_authorities(authority);
                return Ok(answer);
            }
            Err(error) => error,
        };
        tracing::debug!(%name, %kind, %error, "no name server answers");
        Err(ResponseCode::ServFail)
    }
}

/// The resolver leaves out that a name stands for another where it has kept what is known of that one and was not told both at once.
fn named(name: &Name, mut found: Message) -> Message {
    let other = found.answers.first().map(|first| first.name.clone());
    let is_said = found.answers.iter().any(|record| record.name == *name);
    if let Some(other) = other.filter(|_| !is_said) {
        let ttl = found.answers.iter().map(|record| record.ttl).min().unwrap_or_default();
        found.answers.insert(0, Record::from_rdata(name.clone(), ttl, RData::CNAME(CNAME(other))));
    }
    found
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    connections.iter_mut().for_each(|connection| connection.port = address.port());
    NameServerConfig::new(address.ip(), true, connections)
}
