//! Clients of a proxy: one that speaks HTTP and keeps its connection, and one that writes bytes.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use orchestra_core::engine::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A client with one connection, which it opens again where it was closed between two requests.
pub(crate) struct Client {
    proxy: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
    tasks: Tasks,
}

impl Client {
    pub(crate) fn new(proxy: SocketAddr) -> Self {
        Self { proxy, sender: None, tasks: Tasks::new() }
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
        if self.sender.as_ref().is_none_or(SendRequest::is_closed) {
            let stream = TcpStream::connect(self.proxy).await.map_err(|e| format!("connecting: {e}"))?;
            stream.set_nodelay(true).unwrap();
            let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
            self.tasks.spawn("client", async move { drop(connection.await) });
            self.sender = Some(sender);
        }
        let sender = self.sender.as_mut().unwrap();
        sender.ready().await.map_err(|e| format!("waiting for the connection: {e}"))?;
        sender.send_request(request).await.map_err(|e| format!("{e:?}"))
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: &str,
    ) -> Result<(StatusCode, String), String> {
        let request = Request::builder().method(method).uri(path).header("host", "test");
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        read(self.send(request).await?).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> (StatusCode, String) {
        self.call(Method::GET, path, "").await.unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

pub(crate) async fn read(response: Response<Incoming>) -> Result<(StatusCode, String), String> {
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|e| format!("body: {e:?}"))?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// Writes `bytes` to the proxy, and reads until it closes.
pub(crate) async fn raw(proxy: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is an answer, too.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}
