//! Requests of HTTP/2 that would be something else as HTTP/1.1.

use crate::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, block, frame, parse, preface,
};

type Headers = Vec<(Vec<u8>, Vec<u8>)>;

/// A request, as its headers and its body; `refused`: whether it must not reach a server.
pub(crate) struct Downgrade {
    pub(crate) name: String,
    headers: Headers,
    body: Vec<u8>,
    pub(crate) refused: bool,
    number: usize,
}

impl Downgrade {
    pub(crate) fn target(&self) -> String {
        format!("/downgrade/{}", self.number)
    }

    /// All that the client sends.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let headers: Vec<(&[u8], &[u8])> =
            self.headers.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
        let mut bytes = preface();
        let end = if self.body.is_empty() { END_STREAM } else { 0 };
        bytes.extend(frame(HEADERS, END_HEADERS | end, 1, &block(&headers)));
        if !self.body.is_empty() {
            bytes.extend(frame(DATA, END_STREAM, 1, &self.body));
        }
        bytes
    }
}

/// Whether these frames end the one stream, and whether it was answered with 200, whose HPACK is one byte.
pub(crate) fn outcome(came: &[u8]) -> (bool, bool) {
    let frames = parse(came);
    let good =
        frames.iter().any(|(kind, stream, payload)| (*kind, *stream) == (HEADERS, 1) && payload[0] == 0x88);
    let ended = frames
        .iter()
        .any(|(kind, stream, _)| *kind == GOAWAY || (*stream == 1 && [HEADERS, RST_STREAM].contains(kind)));
    (ended, good)
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";

/// Headers that a request has besides the four that it must, and whether it is refused.
const HEADERS_BESIDES: [(&str, &str, bool); 40] = [
    ("x", "y", false),
    ("te", "trailers", false),
    ("te", "gzip", true),
    ("transfer-encoding", "chunked", true),
    ("transfer-encoding", "identity", true),
    ("Transfer-Encoding", "chunked", true),
    ("transfer_encoding", "chunked", false),
    ("transfer-encoding ", "chunked", true),
    (" transfer-encoding", "chunked", true),
    ("connection", "close", true),
    ("connection", "transfer-encoding", true),
    ("keep-alive", "timeout=5", true),
    ("proxy-connection", "keep-alive", true),
    ("upgrade", "h2c", true),
    ("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA", false),
    ("content-length", "1", true),
    ("content-length", "999", true),
    ("content-length", "+1", true),
    ("content-length", "0, 0", true),
    ("content-length", "", true),
    ("x", "a\r\nb: c", true),
    ("x", "a\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n", true),
    ("x", "a\nb: c", true),
    ("x", "a\rb", true),
    ("x", "a\0b", true),
    ("x\r\ny", "z", true),
    ("x: y\r\nz", "1", true),
    ("x\ny", "z", true),
    ("x:y", "z", true),
    ("x y", "z", true),
    ("X", "y", true),
    ("", "x", true),
    ("host", "x", false),
    ("host", "other", true),
    ("host", "x, other", true),
    (":path", "/smuggled", true),
    (":authority", "other", true),
    (":status", "200", true),
    (":protocol", "websocket", true),
    (":unknown", "x", true),
];

/// Replaces one of the four that a request must have.
const PSEUDO: [(&str, Option<&str>, bool); 30] = [
    (":path", Some("/x HTTP/1.1\r\nhost: y\r\n\r\nGET /smuggled"), true),
    (":path", Some("/x /smuggled"), true),
    (":path", Some("/x\r\ny"), true),
    (":path", Some("/x\tHTTP/1.1"), true),
    (":path", Some("/x\0"), true),
    (":path", Some(""), true),
    (":path", Some("smuggled"), true),
    (":path", Some("http://other/smuggled"), true),
    (":path", Some("//other/smuggled "), true),
    (":path", None, true),
    (":method", Some("GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\nGET"), true),
    (":method", Some("GET /smuggled"), true),
    (":method", Some("GET\r\n"), true),
    (":method", Some(""), true),
    (":method", Some("CONNECT"), true),
    (":method", None, true),
    (":authority", Some("x\r\ny: z"), true),
    (":authority", Some("x y"), true),
    (":authority", Some("y@x"), true),
    (":authority", Some("x/smuggled"), true),
    (":authority", Some("x?"), true),
    (":authority", Some("x:80:80"), true),
    (":authority", Some("x:http"), true),
    (":authority", Some(""), true),
    (":authority", None, true),
    (":scheme", Some("http://x/smuggled?"), true),
    (":scheme", Some("http\r\nx: y"), true),
    (":scheme", Some(""), false),
    (":scheme", Some("https"), false),
    (":scheme", None, true),
];

/// All of them.
pub(crate) fn downgrades() -> Vec<Downgrade> {
    let mut all = Vec::new();
    let mut add = |name: String, change: &dyn Fn(&mut Headers), body: &[u8], refused: bool| {
        let number = all.len();
        let target = format!("/downgrade/{number}");
        let method = if body.is_empty() { "GET" } else { "POST" };
        let must = [(":method", method), (":scheme", "http"), (":authority", "x"), (":path", &target)];
        let mut headers = must.map(|(name, value)| (name.into(), value.into())).to_vec();
        change(&mut headers);
        all.push(Downgrade { name, headers, body: body.to_vec(), refused, number });
    };
    for (name, value, refused) in HEADERS_BESIDES {
        for body in ["", SMUGGLED] {
            let label = format!("{name:?}: {value:?}");
            add(label, &|headers| headers.push((name.into(), value.into())), body.as_bytes(), refused);
        }
    }
    for (name, value, refused) in PSEUDO {
        let change = |headers: &mut Headers| match value {
            Some(value) => {
                headers.iter_mut().filter(|(at, _)| at == name.as_bytes()).for_each(|h| h.1 = value.into())
            }
            None => headers.retain(|(at, _)| at != name.as_bytes()),
        };
        add(format!("{name:?} is {value:?}"), &change, b"", refused);
    }
    // A body that would be chunks, or a request, to whoever took it for HTTP/1.1.
    add("a body of chunks".to_owned(), &|_| {}, format!("0\r\n\r\n{SMUGGLED}").as_bytes(), false);
    add(
        "the order is another".to_owned(),
        &|headers| headers.insert(0, (b"x".to_vec(), b"y".to_vec())),
        b"",
        true,
    );
    all
}
