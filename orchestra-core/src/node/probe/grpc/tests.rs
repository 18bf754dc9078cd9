//! Health checks against a real server over HTTP/2.

use std::convert::Infallible;
use std::time::Duration;

use http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::node::probe::{NetworkProber, ProbeRequest, Prober};

type Answer = Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>;

fn grpc(message: &'static [u8], status: &'static str) -> Answer {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    let body = Full::from(message).with_trailers(async { Some(Ok(trailers)) }).boxed();
    Response::builder().header("content-type", "application/grpc+proto").body(body).unwrap()
}

/// An answer that has its status in the head, and no message: how servers tell errors.
fn only_status(status: &str, message: &str) -> Answer {
    let head = Response::builder().header("content-type", "application/grpc");
    let head = head.header("grpc-status", status).header("grpc-message", message);
    head.body(Full::default().boxed()).unwrap()
}

/// A health service that knows itself, `shop.Cart`, which serves, and some others, each with its trouble.
async fn health(request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let of = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(head.method, "POST");
    assert_eq!((of("content-type"), of("te")), (Some("application/grpc"), Some("trailers")));
    let question = body.collect().await.unwrap().to_bytes();
    if head.uri.path() != "/grpc.health.v1.Health/Check" {
        return Ok(only_status("12", ""));
    }
    // A frame of the tag, the length and the name; or nothing at all for the server itself.
    let service = question.get(7..).map(|name| std::str::from_utf8(name).unwrap()).unwrap_or_default();
    Ok(match service {
        "" | "shop.Cart" => grpc(b"\0\0\0\0\x02\x08\x01", "0"),
        "shop.Down" => grpc(b"\0\0\0\0\x02\x08\x02", "0"),
        "shop.Unset" => grpc(b"\0\0\0\0\0", "0"),
        "shop.Denied" => only_status("7", "who are you?"),
        "shop.Stubborn" => only_status("12", ""),
        "shop.Mute" => grpc(b"", "0"),
        "shop.Long" => grpc(&[0; 2 * MAX_ANSWER], "0"),
        "shop.Page" => Response::new(Full::from("SERVING").boxed()),
        "shop.Lost" => {
            Response::builder().status(StatusCode::NOT_FOUND).body(Full::default().boxed()).unwrap()
        }
        _ => only_status("5", "unknown service"),
    })
}

/// Asks a server of its own about `service`.
async fn ask_about(service: &str) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        // It ends when the probe lets go of the connection, in whatever way.
        let _ended = http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service_fn(health))
            .await;
    };
    let request = ProbeRequest::Grpc { address, service: service.to_owned() };
    let (answer, ()) = tokio::join!(NetworkProber.probe(&request), server);
    answer.map_err(|failure| {
        assert!(matches!(failure, ProbeFailure::Failed(_)), "it counts: {failure:?}");
        let text = failure.to_string();
        text.strip_prefix(&format!("grpc://{address}: ")).unwrap_or(&text).to_owned()
    })
}

#[tokio::test]
async fn a_server_and_its_services_that_serve_succeed() {
    assert_eq!(ask_about("").await, Ok(()));
    assert_eq!(ask_about("shop.Cart").await, Ok(()));
}

#[tokio::test]
async fn all_else_fails_and_says_why() {
    for (service, why) in [
        ("shop.Down", "service `shop.Down` answers NOT_SERVING"),
        ("shop.Unset", "service `shop.Unset` answers UNKNOWN"),
        ("shop.Basket", "its health service does not know service `shop.Basket`"),
        ("shop.Denied", "gRPC status 7 who are you?"),
        ("shop.Stubborn", "it has no health service (grpc.health.v1.Health)"),
        ("shop.Mute", "its answer has no message"),
        ("shop.Long", "its answer is longer than 4096 bytes"),
        ("shop.Page", "content type missing: it is no gRPC server"),
        ("shop.Lost", "HTTP status 404: it is no gRPC server"),
    ] {
        assert_eq!(ask_about(service).await, Err(why.to_owned()));
    }
}

#[tokio::test]
async fn a_server_of_another_protocol_fails() {
    for answer in ["HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", "220 mail.example ESMTP\r\n", ""]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let request = ProbeRequest::Grpc { address, service: String::new() };
        let (result, ()) = tokio::join!(NetworkProber.probe(&request), server);
        assert!(matches!(result, Err(ProbeFailure::Failed(_))), "{answer:?}: {result:?}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let request = ProbeRequest::Grpc { address: nobody, service: String::new() };
    assert!(matches!(NetworkProber.probe(&request).await, Err(ProbeFailure::Failed(_))));
}

#[tokio::test]
async fn a_probe_that_is_given_up_lets_go_of_a_server_that_does_not_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let request = ProbeRequest::Grpc { address, service: String::new() };
    let (asked, seen) = tokio::sync::oneshot::channel();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1024];
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        asked.send(()).unwrap();
        // Silence, until the other side has gone.
        while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
    };
    let probe = async {
        // The agent drops the probe when its time is over; here that is when the server has the question.
        tokio::select! {
            biased;
            _ = seen => {}
            answer = NetworkProber.probe(&request) => panic!("nobody answered, but: {answer:?}"),
        }
    };
    let both = async { tokio::join!(probe, server) };
    tokio::time::timeout(Duration::from_secs(30), both)
        .await
        .expect("the connection is dropped with the probe");
}
