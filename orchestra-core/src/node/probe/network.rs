//! Probes over real sockets.

use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{ProbeFailure, ProbeRequest, Prober};
use crate::model::UriScheme;

/// Asks over TCP, HTTP/1.1 and, with the feature `grpc-probes`, gRPC without TLS; with a connection of its own for
/// each question.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkProber;

#[async_trait]
impl Prober for NetworkProber {
    async fn probe(&self, request: &ProbeRequest) -> Result<(), ProbeFailure> {
        match request {
            ProbeRequest::Tcp { address } => connect(*address).await.map(drop),
            ProbeRequest::Http { scheme: UriScheme::Https, .. } => Err(ProbeFailure::Unsupported(
                "HTTPS probes are not supported; use scheme HTTP, tcpSocket or exec".to_owned(),
            )),
            ProbeRequest::Http { address, path, headers, .. } => get(*address, path, headers).await,
            #[cfg(feature = "grpc-probes")]
            ProbeRequest::Grpc { address, service } => super::grpc::check(*address, service).await,
            #[cfg(not(feature = "grpc-probes"))]
            ProbeRequest::Grpc { .. } => Err(ProbeFailure::Unsupported(
                "this build can't ask over gRPC: enable the feature `grpc-probes`".to_owned(),
            )),
        }
    }
}

pub(super) fn failed(address: SocketAddr, error: &dyn std::error::Error) -> ProbeFailure {
    ProbeFailure::Failed(format!("{address}: {}", crate::node::error::chain(error)))
}

pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream, ProbeFailure> {
    TcpStream::connect(address).await.map_err(|e| failed(address, &e))
}

async fn get(address: SocketAddr, path: &str, headers: &[(String, String)]) -> Result<(), ProbeFailure> {
    let io = TokioIo::new(connect(address).await?);
    let mut request = Request::get(path).header(http::header::CONNECTION, "close");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| failed(address, &e))?;
    let (mut sender, connection) = http1::handshake(io).await.map_err(|e| failed(address, &e))?;
    // The connection is driven here and dropped with the answer: no task outlives a probe. It may end before the
    // answer is taken out of it.
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(sender.send_request(request));
    let mut ended = false;
    let response = loop {
        tokio::select! {
            biased;
            response = &mut answer => break response.map_err(|e| failed(address, &e))?,
            result = &mut connection, if !ended => {
                ended = true;
                result.map_err(|e| failed(address, &e))?;
            }
        }
    };
    match response.status().as_u16() {
        200..400 => Ok(()),
        status => Err(ProbeFailure::Failed(format!("http://{address}{path}: status {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn ask(answer: &'static str) -> (Result<(), ProbeFailure>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let request = ProbeRequest::Http {
            address,
            scheme: UriScheme::Http,
            path: "/healthz?full=1".into(),
            headers: vec![("Host".into(), "web".into()), ("X-Probe".into(), "yes".into())],
        };
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 4096];
            let n = stream.read(&mut buffer).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&buffer[..n]).into_owned()
        };
        tokio::join!(NetworkProber.probe(&request), server)
    }

    #[tokio::test]
    async fn http_succeeds_from_200_to_399() {
        let (answer, request) = ask("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(answer, Ok(()));
        assert!(request.starts_with("GET /healthz?full=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("host: web\r\n") && request.contains("x-probe: yes\r\n"), "{request}");
        let (answer, _) = ask("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
        assert!(answer.unwrap_err().to_string().ends_with("status 503"));
        let (answer, _) = ask("").await;
        assert!(matches!(answer, Err(ProbeFailure::Failed(_))));
    }

    #[tokio::test]
    async fn tcp_succeeds_where_somebody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(NetworkProber.probe(&ProbeRequest::Tcp { address }).await, Ok(()));
        drop(listener);
        assert!(NetworkProber.probe(&ProbeRequest::Tcp { address }).await.is_err());
    }
}
