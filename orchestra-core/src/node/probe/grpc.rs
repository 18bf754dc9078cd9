//! The gRPC health checking protocol, from the asking side: `grpc.health.v1.Health/Check` over HTTP/2.

mod wire;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::uri::Scheme;
use http::{HeaderMap, Request, Response, header};
use tokio::io::{AsyncRead, AsyncWrite};

use self::wire::ServingStatus;
use super::ProbeFailure;
use super::network::{connect, failed};

const PATH: &str = "/grpc.health.v1.Health/Check";

/// The most bytes of an answer that are read. The answer proper is two bytes in a frame of five; what is longer is
/// something else.
const MAX_ANSWER: usize = 4096;

/// The most characters of a server's own words that are passed on.
const MAX_MESSAGE: usize = 256;

/// The codes of gRPC that mean something here.
const OK: &str = "0";
const NOT_FOUND: &str = "5";
const UNIMPLEMENTED: &str = "12";

/// Asks over a connection without TLS, as probes do.
pub(super) async fn check(address: SocketAddr, service: &str) -> Result<(), ProbeFailure> {
    check_grpc(connect(address).await?, &Scheme::HTTP, address, service).await
}

/// Asks the gRPC health service (`grpc.health.v1.Health/Check`) at the other end of `stream`, which is one to `address` that has
/// carried nothing yet, whether `service` serves; empty: the whole server. It has no bound of its own in time, and is
/// cancel-safe: no task outlives it, and the stream is closed at its end.
///
/// # Errors
/// [`ProbeFailure::Failed`] where it does not serve, is not known, or what answers is no gRPC server; the text says which.
pub async fn check_grpc<S>(
    stream: S,
    scheme: &Scheme,
    address: SocketAddr,
    service: &str,
) -> Result<(), ProbeFailure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (sender, connection) = h2::client::handshake(stream).await.map_err(|e| failed(address, &e))?;
    // The connection is driven here and dropped with the answer: no task outlives a probe. It may end before the
    // answer is taken out of it.
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(ask(sender, scheme, address, service));
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        result = &mut connection => result.map_err(|e| failed(address, &e))?,
    }
    answer.await
}

/// What the fuzz target calls: reads an answer, and what it says for people.
#[cfg(fuzzing)]
pub fn read_answer(frame: &[u8]) -> String {
    wire::answer(frame).map_or_else(|why| why, |status| status.to_string())
}

fn ask(
    sender: SendRequest<Bytes>,
    scheme: &Scheme,
    address: SocketAddr,
    service: &str,
) -> impl Future<Output = Result<(), ProbeFailure>> {
    let question = wire::question(service);
    let target = format!("{scheme}://{address}{PATH}");
    let subject = if service.is_empty() { "the server".to_owned() } else { format!("service `{service}`") };
    async move {
        let broken = |error: h2::Error| failed(address, &error);
        let refused = |why: String| ProbeFailure::Failed(format!("grpc://{address}: {why}"));
        let request = Request::post(target)
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .header(header::USER_AGENT, "orchestra-probe")
            .body(())
            .map_err(|e| failed(address, &e))?;
        let mut sender = sender.ready().await.map_err(broken)?;
        let (response, mut body) = sender.send_request(request, false).map_err(broken)?;
        body.send_data(question, true).map_err(broken)?;
        let answer = response.await.map_err(broken)?;
        check_head(&answer).map_err(refused)?;
        let (head, mut body) = answer.into_parts();
        let mut message = BytesMut::new();
        while let Some(piece) = body.data().await {
            let piece = piece.map_err(broken)?;
            if message.len() + piece.len() > MAX_ANSWER {
                return Err(refused(format!("its answer is longer than {MAX_ANSWER} bytes")));
            }
            body.flow_control().release_capacity(piece.len()).map_err(broken)?;
            message.extend_from_slice(&piece);
        }
        let trailers = body.trailers().await.map_err(broken)?;
        // An answer without a message has its status in the head.
        let status = trailers.as_ref().filter(|t| t.contains_key("grpc-status")).unwrap_or(&head.headers);
        check_status(status, &subject).map_err(refused)?;
        match wire::answer(&message).map_err(refused)? {
            ServingStatus::Serving => Ok(()),
            other => Err(refused(format!("{subject} answers {other}"))),
        }
    }
}

/// Whether what answers speaks gRPC at all.
fn check_head<T>(answer: &Response<T>) -> Result<(), String> {
    if !answer.status().is_success() {
        return Err(format!("HTTP status {}: it is no gRPC server", answer.status().as_u16()));
    }
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with("application/grpc")) {
        return Err(format!("content type {}: it is no gRPC server", kind.unwrap_or("missing")));
    }
    Ok(())
}

fn check_status(headers: &HeaderMap, subject: &str) -> Result<(), String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let said = || -> String { text("grpc-message").unwrap_or_default().chars().take(MAX_MESSAGE).collect() };
    match text("grpc-status") {
        Some(OK) => Ok(()),
        Some(NOT_FOUND) => Err(format!("its health service does not know {subject}")),
        Some(UNIMPLEMENTED) => Err("it has no health service (grpc.health.v1.Health)".to_owned()),
        Some(code) => Err(format!("gRPC status {code} {}", said()).trim_end().to_owned()),
        None => Err("its answer ends without a gRPC status".to_owned()),
    }
}
