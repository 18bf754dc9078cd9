//! How hickory's resolver works here: in tasks of ours, and with each server that fails followed by the next one.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use hickory_proto::op::{DnsRequest, DnsResponse, ResponseCode};
use hickory_proto::rr::RecordType;
use hickory_resolver::config::{ConnectionConfig, ProtocolConfig};
use hickory_resolver::net::NetError as ResolverError;
use hickory_resolver::net::runtime::{RuntimeProvider, Spawn, TokioRuntimeProvider};
use hickory_resolver::net::tcp::TcpClientStream;
use hickory_resolver::net::xfer::{DnsExchange, DnsHandle, FirstAnswer};
use hickory_resolver::{ConnectionProvider, PoolContext};
use orchestra_core::engine::Tasks;

use super::dns::ending_with;

type Boxed<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Tokio's sockets and time, and our tasks.
#[derive(Clone)]
pub(super) struct Runtime {
    tokio: TokioRuntimeProvider,
    tasks: Tasks,
    own: Tasks,
}

impl Runtime {
    /// Spawns in `tasks`, until `own` are to end.
    pub(super) fn new(tasks: Tasks, own: Tasks) -> Self {
        Self { tokio: TokioRuntimeProvider::new(), tasks, own }
    }
}

impl Spawn for Runtime {
    fn spawn_bg(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn("dns-resolver", ending_with(self.own.clone(), future));
    }
}

impl RuntimeProvider for Runtime {
    type Handle = Self;
    type Timer = <TokioRuntimeProvider as RuntimeProvider>::Timer;
    type Udp = <TokioRuntimeProvider as RuntimeProvider>::Udp;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self {
        self.clone()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        own: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Boxed<Self::Tcp, io::Error> {
        self.tokio.connect_tcp(server, own, timeout)
    }

    fn bind_udp(&self, own: SocketAddr, server: SocketAddr) -> Boxed<Self::Udp, io::Error> {
        self.tokio.bind_udp(own, server)
    }
}

/// Connections to servers that answer or fail.
#[derive(Clone)]
pub(super) struct Connector(pub(super) Runtime);

impl ConnectionProvider for Connector {
    type Conn = Connection;
    type FutureConn = Boxed<Connection, ResolverError>;
    type RuntimeProvider = Runtime;

    fn new_connection(
        &self,
        server: IpAddr,
        config: &ConnectionConfig,
        context: &PoolContext,
    ) -> Result<Self::FutureConn, ResolverError> {
        let connecting = self.0.new_connection(server, config, context)?;
        let over_tcp = || OverTcp {
            server: SocketAddr::new(server, config.port),
            timeout: context.options.timeout,
            runtime: self.0.clone(),
        };
        let over_tcp = matches!(config.protocol, ProtocolConfig::Udp).then(over_tcp);
        Ok(Box::pin(async move { Ok(Connection { exchange: connecting.await?, over_tcp }) }))
    }

    fn runtime_provider(&self) -> &Runtime {
        &self.0
    }
}

/// How a server is asked for what fits no datagram.
#[derive(Clone)]
struct OverTcp {
    server: SocketAddr,
    timeout: Duration,
    runtime: Runtime,
}

impl OverTcp {
    async fn ask(self, request: DnsRequest) -> Result<DnsResponse, ResolverError> {
        type Stream = TcpClientStream<<Runtime as RuntimeProvider>::Tcp>;
        let exchange = Stream::exchange(self.server, None, self.timeout, None, self.runtime).await?;
        exchange.send(request).first_answer().await
    }
}

/// A connection to a server.
#[derive(Clone)]
pub(super) struct Connection {
    exchange: DnsExchange<Runtime>,
    /// Where it is one of datagrams.
    over_tcp: Option<OverTcp>,
}

impl DnsHandle for Connection {
    type Response = BoxStream<'static, Result<DnsResponse, ResolverError>>;
    type Runtime = Runtime;

    /// A server that says that it can't tell, or nothing that is a message, is as one that can't be reached: only from those the resolver
    /// goes on to the next one, and takes the others' word for everybody's. What fits no datagram is fetched at once: the resolver
    /// would wait for all that it has asked first, and has no time left then.
    fn send(&self, request: DnsRequest) -> Self::Response {
        let (asking, over_tcp) = (self.exchange.send(request.clone()), self.over_tcp.clone());
        let answering = async move {
            let answer = asking.first_answer().await?;
            match over_tcp {
                Some(over_tcp) if answer.metadata.truncation => over_tcp.ask(request).await,
                _ => Ok(answer),
            }
        };
        stream::once(answering).map(reached).boxed()
    }
}

fn reached(answer: Result<DnsResponse, ResolverError>) -> Result<DnsResponse, ResolverError> {
    match answer {
        Ok(answer) if !can_tell(answer.metadata.response_code) => {
            Err(io::Error::other(answer.metadata.response_code.to_str()).into())
        }
        Ok(answer) => Ok(direct(answer)),
        Err(ResolverError::Proto(error)) => Err(io::Error::other(error).into()),
        answer => answer,
    }
}

fn can_tell(code: ResponseCode) -> bool {
    !matches!(
        code,
        ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp | ResponseCode::FormErr
    )
}

/// The resolver goes on from a service's record to the host that it names where a CNAME comes before it, and finds no service there:
/// what is said of the other name is said of the one that was asked for.
fn direct(mut answer: DnsResponse) -> DnsResponse {
    let Some(asked) = answer.queries.first().filter(|asked| asked.query_type == RecordType::SRV) else {
        return answer;
    };
    let (name, ttl) = (asked.name.clone(), answer.answers.iter().map(|record| record.ttl).min());
    if answer.answers.iter().any(|record| record.record_type() == RecordType::SRV) {
        answer.answers.retain(|record| record.record_type() == RecordType::SRV);
        for record in &mut answer.answers {
            (record.name, record.ttl) = (name.clone(), ttl.unwrap_or(record.ttl));
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::{self, error::TryRecvError};

    use super::*;

    #[tokio::test]
    async fn what_the_resolver_starts_ends_with_the_server_and_is_waited_for() {
        let (tasks, own) = (Tasks::new(), Tasks::new());
        let endless = |own: &Tasks| {
            let (running, mut ended) = oneshot::channel::<()>();
            Runtime::new(tasks.clone(), own.clone()).spawn_bg(async move {
                let _running = running;
                std::future::pending().await
            });
            assert_eq!(ended.try_recv(), Err(TryRecvError::Empty));
            ended
        };
        let first = endless(&own);
        own.cancel();
        tokio::time::timeout(Duration::from_secs(20), first).await.expect("it ends").unwrap_err();
        let mut second = endless(&Tasks::new());
        tasks.shutdown().await;
        assert_eq!(second.try_recv(), Err(TryRecvError::Closed), "it has ended");
    }
}
