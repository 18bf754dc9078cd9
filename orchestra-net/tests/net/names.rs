//! What requests are called on their way, and what is told of them.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use orchestra_net::{HttpOptions, UpstreamOptions};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::backend::Backend;
use crate::client::raw;
use crate::proxy::{bind, proxy};
use crate::until;

/// Keeps the access log, as lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "orchestra_net::access"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn requests_have_names_and_each_is_told_when_it_is_answered() {
    let lines = Lines::default();
    // Of this thread alone, which is all that the test's runtime has.
    let _listening_in = tracing::subscriber::set_default(lines.clone());
    let a = Backend::start("a").await;
    let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let options = HttpOptions::default()
        .with_request_ids(true)
        .with_trace_context(true)
        .with_access_log(true)
        .with_forwarded(true);
    let listening = bind(&upstream, options).await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = format!(
        "GET /head?x HTTP/1.1\r\nhost: shop\r\ntraceparent: 00-{trace}-b7ad6b7169203331-01\r\nx-request-id: mine\r\n\
         forwarded: for=192.0.2.1\r\nconnection: close, x-request-id, traceparent, forwarded\r\n\r\n"
    );
    let answer = raw(listening.address(), request.as_bytes()).await;
    let header = |name: &str| {
        let start = answer.find(&format!("\n{name}: ")).unwrap_or_else(|| panic!("{name}: {answer}"))
            + name.len()
            + 3;
        answer[start..].lines().next().unwrap().to_owned()
    };
    assert!(header("traceparent").starts_with(&format!("00-{trace}-")), "{answer}");
    assert!(!header("traceparent").contains("b7ad6b7169203331"), "{answer}");
    assert_eq!(header("forwarded"), "for=127.0.0.1;host=\"shop\";proto=http");
    let id = header("x-request-id");
    assert_ne!(id, "mine");
    until("it is told", || !lines.0.lock().unwrap().is_empty()).await;
    let line = lines.0.lock().unwrap()[0].clone();
    let length = answer.split_once("\r\n\r\n").unwrap().1.len();
    for part in [
        "client=127.0.0.1:",
        "method=GET",
        "host=\"shop\"",
        "target=\"/head?x\"",
        "status=200",
        &format!("bytes={length}"),
        "first_byte_seconds=0.",
        "service=\"test\"",
        &format!("endpoint={}", a.address),
        &format!("request_id=\"{id}\""),
        "complete=true",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    // What the proxy refuses is told, too.
    raw(listening.address(), b"GET / HTTP/1.1\r\nhost: x y\r\nconnection: close\r\n\r\n").await;
    until("it is told", || lines.0.lock().unwrap().len() == 2).await;
    let line = lines.0.lock().unwrap()[1].clone();
    assert!(line.contains("status=400") && line.contains("service=\"-\""), "{line}");
}
