//! An HTTP server that ends as a good container does: on SIGTERM it finishes what it has begun.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::Me;

/// The most that a request of the shop may carry.
const BODY_LIMIT: usize = 64 * 1024;

/// A request, read.
pub(crate) struct Call {
    pub method: Method,
    pub path: String,
    pub body: Value,
}

/// What a service answers: JSON, or a page.
pub(crate) enum Answer {
    Json(Value),
    Page(String),
    Status(StatusCode, String),
}

/// Answers the calls of one service.
pub(crate) type Handler =
    Arc<dyn Fn(Call) -> futures_util::future::BoxFuture<'static, anyhow::Result<Answer>> + Send + Sync>;

/// Serves until SIGTERM, then finishes the requests in flight.
pub(crate) async fn serve(address: SocketAddr, me: Arc<Me>, handler: Handler) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))?;
    eprintln!("{} {} listens on {address}", me.name, me.version);
    let graceful = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            biased;
            _ = terminate.recv() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    eprintln!("accept: {error}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
        };
        let (me, handler) = (Arc::clone(&me), Arc::clone(&handler));
        let service = service_fn(move |request| answer(request, Arc::clone(&me), Arc::clone(&handler)));
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(graceful.watch(connection));
    }
    drop(listener);
    graceful.shutdown().await;
    eprintln!("{} {} has finished", me.name, me.version);
    Ok(())
}

async fn answer(
    request: Request<Incoming>,
    me: Arc<Me>,
    handler: Handler,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let answer = match path.as_str() {
        "/healthz" | "/readyz" => Ok(Answer::Status(StatusCode::OK, "ok\n".to_owned())),
        "/version" => Ok(Answer::Json(
            json!({ "service": me.name, "version": me.version, "pod": me.pod, "pid": std::process::id() }),
        )),
        _ => call(request, path, &handler).await,
    };
    let (status, kind, body) = match answer {
        Ok(Answer::Json(value)) => (StatusCode::OK, "application/json", value.to_string()),
        Ok(Answer::Page(html)) => (StatusCode::OK, "text/html; charset=utf-8", html),
        Ok(Answer::Status(status, text)) => (status, "text/plain", text),
        Err(error) => (StatusCode::BAD_GATEWAY, "text/plain", format!("{}: {error:#}\n", me.name)),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("content-type", hyper::header::HeaderValue::from_static(kind));
    if let Ok(version) = me.version.parse() {
        headers.insert("x-version", version);
    }
    Ok(response)
}

async fn call(request: Request<Incoming>, path: String, handler: &Handler) -> anyhow::Result<Answer> {
    let method = request.method().clone();
    let body = http_body_util::Limited::new(request.into_body(), BODY_LIMIT).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("reading the request: {error}"))?.to_bytes();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
    handler(Call { method, path, body }).await
}
