//! The hostile requests, made from tables: what is odd, and where it stands.

/// One hostile request.
pub(crate) struct Case {
    /// Which table, and which row of it.
    pub(crate) name: String,
    /// What is sent.
    pub(crate) bytes: Vec<u8>,
    /// Whether it must not reach a server: two readers that keep to the standard could differ about it.
    pub(crate) refused: bool,
    /// How long its body is, where that is clear.
    pub(crate) body: Option<usize>,
    number: usize,
}

impl Case {
    /// What it asks for: nobody else does.
    pub(crate) fn target(&self) -> String {
        format!("/case/{}", self.number)
    }
}

/// What hides in a body, or behind one.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: x\r\nx: ";

struct Corpus(Vec<Case>);

impl Corpus {
    /// Adds a request. `{t}` in it is its target, `{s}` what is smuggled.
    fn add(&mut self, name: &str, text: impl AsRef<[u8]>, refused: bool, body: Option<usize>) {
        let number = self.0.len();
        let bytes = replaced(text.as_ref(), b"{t}", format!("/case/{number}").as_bytes());
        let bytes = replaced(&bytes, b"{s}", SMUGGLED.as_bytes());
        self.0.push(Case { name: format!("{name} {number}"), bytes, refused, body, number });
    }
}

fn replaced(text: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len() + with.len());
    let mut rest = text;
    while let Some(at) = rest.windows(what.len()).position(|window| window == what) {
        result.extend_from_slice(&rest[..at]);
        result.extend_from_slice(with);
        rest = &rest[at + what.len()..];
    }
    result.extend_from_slice(rest);
    result
}

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    let mut corpus = Corpus(Vec::new());
    transfer_codings(&mut corpus);
    lengths(&mut corpus);
    chunks(&mut corpus);
    trailers(&mut corpus);
    line_ends(&mut corpus);
    request_lines(&mut corpus);
    hosts(&mut corpus);
    nominated(&mut corpus);
    header_names(&mut corpus);
    protocols(&mut corpus);
    corpus.0
}

/// How `Transfer-Encoding: chunked` is written, as whole lines. Whoever reads it as that takes the chunks; who does not,
/// the length.
const CODINGS: [&str; 50] = [
    "Transfer-Encoding: chunked",
    "Transfer-Encoding:chunked",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding: chunked ",
    "Transfer-Encoding: chunked\t",
    "TRANSFER-ENCODING: CHUNKED",
    "transfer-encoding: cHuNkEd",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    "Transfer-Encoding\r\n : chunked",
    " Transfer-Encoding: chunked",
    "\tTransfer-Encoding: chunked",
    "X: x\r\n Transfer-Encoding: chunked",
    "X: x\nTransfer-Encoding: chunked",
    "X: x\rTransfer-Encoding: chunked",
    "X: x\r\r\nTransfer-Encoding: chunked",
    "X: x\n\rTransfer-Encoding: chunked",
    "X: x\0\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: \r\n chunked",
    "Transfer-Encoding:\r\n\tchunked",
    "Transfer-Encoding: chunked\r\n ",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunkedx",
    "Transfer-Encoding: x chunked",
    "Transfer-Encoding: chunked x",
    "Transfer-Encoding: \x0bchunked",
    "Transfer-Encoding: \x0cchunked",
    "Transfer-Encoding: chunked\x0b",
    "Transfer-Encoding: \0chunked",
    "Transfer-Encoding: \u{a0}chunked",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: 'chunked'",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: chunked; a",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding:\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: ",
    "Transfer_Encoding: chunked",
    "Transfer-Encoding\u{a0}: chunked",
    "Transfer-Encodin\u{11f}: chunked",
    "Content-Encoding: chunked",
];

/// Those of them that are another header, about which nobody differs.
fn is_another_header(line: &str) -> bool {
    ["Transfer_Encoding", "Content-Encoding"].iter().any(|name| line.starts_with(name))
}

fn transfer_codings(corpus: &mut Corpus) {
    for line in CODINGS {
        let other = is_another_header(line);
        // A line may end in LF alone.
        // A line may end in LF alone.
        let last = line.trim_start_matches("X: x\n");
        let alone = !other
            && last.to_ascii_lowercase().split_once(':').is_some_and(|(name, value)| {
                name == "transfer-encoding" && value.trim_matches([' ', '\t']) == "chunked"
            });
        // The length covers all; the chunks end before what is smuggled.
        let chunks = "0\r\n\r\n{s}";
        let length = 5 + SMUGGLED.len();
        for head in [
            format!(
                "POST {{t}} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{line}\r\nConnection: close\r\n\r\n{chunks}"
            ),
            format!(
                "POST {{t}} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{line}\r\nContent-Length: {length}\r\n\r\n{chunks}"
            ),
        ] {
            corpus.add("coding and length", head, !other, other.then_some(length));
        }
        // The chunk covers what is smuggled; the length ends before it.
        let size = SMUGGLED.len();
        let head = format!(
            "POST {{t}} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n{line}\r\nConnection: close\r\n\r\n{size:x}\r\n{{s}}\r\n0\r\n\r\n"
        );
        corpus.add("length before coding", head, !other, other.then_some(4));
        let head = format!(
            "POST {{t}} HTTP/1.1\r\nHost: x\r\n{line}\r\nConnection: close\r\n\r\n{size:x}\r\n{{s}}\r\n0\r\n\r\n"
        );
        corpus.add(
            "coding alone",
            head,
            !other && !alone,
            if alone { Some(size) } else { other.then_some(0) },
        );
        let head = format!(
            "GET {{t}} HTTP/1.0\r\nHost: x\r\n{line}\r\nConnection: close\r\n\r\n{size:x}\r\n{{s}}\r\n0\r\n\r\n"
        );
        corpus.add("coding in HTTP/1.0", head, !other, other.then_some(0));
    }
}

/// How a length of 5 is written, after `Content-Length:`, and whether it is one.
const LENGTHS: [(&str, bool); 44] = [
    (" 5", true),
    ("5", true),
    ("\t5", true),
    (" 5 ", true),
    (" 5\t", true),
    (" 05", true),
    (" 0000000000000000005", true),
    (" +5", false),
    (" -5", false),
    (" -0", false),
    (" 0x5", false),
    (" 5h", false),
    (" 5;", false),
    (" 5;a=b", false),
    (" 5,5", false),
    (" 5, 5", false),
    (" 5,", false),
    (" ,5", false),
    (" 5, 6", false),
    (" 6, 5", false),
    (" 5 5", false),
    (" 5\t5", false),
    (" 5.0", false),
    (" 5e0", false),
    (" \"5\"", false),
    (" '5'", false),
    (" \x0b5", false),
    (" 5\x0b", false),
    (" 5\x0c", false),
    (" 5\0", false),
    (" \u{665}", false),
    (" \u{ff15}", false),
    (" \u{a0}5", false),
    (" 18446744073709551621", false),
    (" 4294967301", true),
    (" 99999999999999999999999999999", false),
    (" ", false),
    ("", false),
    (" five", false),
    (" 5\r\nContent-Length: 6", false),
    (" 6\r\nContent-Length: 5", false),
    (" 0\r\nContent-Length: 5", false),
    (" 5\r\n 0", false),
    (" \r\n 5", false),
];

fn lengths(corpus: &mut Corpus) {
    for (value, valid) in LENGTHS {
        // One that says more than comes is not whole: nobody answers it.
        let sized = value.bytes().all(|byte| b" \t05".contains(&byte));
        for method in ["POST", "GET"] {
            let head = format!(
                "{method} {{t}} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length:{value}\r\n\r\nhello{{s}}"
            );
            corpus.add("length", head, !valid, (valid && sized).then_some(5));
        }
    }
    for (lines, body) in [
        ("Content-Length: 5\r\nContent-Length: 5", Some(5)),
        ("Content-Length : 5", None),
        ("Content-Length\t: 5", None),
        (" Content-Length: 5", None),
        ("Content-Length\r\n : 5", None),
        ("X: x\nContent-Length: 5\nX: x", Some(5)),
        ("X: x\rContent-Length: 5", None),
        ("Content_Length: 5", Some(0)),
        ("Content-Length: 0\r\nContent_Length: 5", Some(0)),
    ] {
        let head =
            format!("POST {{t}} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n\r\nhello{{s}}");
        corpus.add("length line", head, body.is_none(), body);
    }
}

/// How a body of chunks is written; how long it is where it is one.
const CHUNKS: [(&str, Option<usize>); 52] = [
    ("5\r\nhello\r\n0\r\n\r\n", Some(5)),
    ("05\r\nhello\r\n0\r\n\r\n", Some(5)),
    ("0000000000005\r\nhello\r\n0\r\n\r\n", Some(5)),
    ("5;a\r\nhello\r\n0\r\n\r\n", Some(5)),
    ("5;a=b\r\nhello\r\n0\r\n\r\n", Some(5)),
    ("5;a=\"b\"\r\nhello\r\n0\r\n\r\n", Some(5)),
    ("5;a=\"\r\nhello\r\n0\r\n\r\n", Some(5)),
    ("5;a;b;c\r\nhello\r\n0;d\r\n\r\n", Some(5)),
    ("5;\r\nhello\r\n0\r\n\r\n", Some(5)),
    ("A\r\n0123456789\r\n0\r\n\r\n", Some(10)),
    ("a\r\n0123456789\r\n00\r\n\r\n", Some(10)),
    ("5 \r\nhello\r\n0\r\n\r\n", Some(5)),
    ("5\t\r\nhello\r\n0\r\n\r\n", Some(5)),
    (" 5\r\nhello\r\n0\r\n\r\n", None),
    ("\t5\r\nhello\r\n0\r\n\r\n", None),
    ("+5\r\nhello\r\n0\r\n\r\n", None),
    ("-5\r\nhello\r\n0\r\n\r\n", None),
    ("0x5\r\nhello\r\n0\r\n\r\n", None),
    ("5h\r\nhello\r\n0\r\n\r\n", None),
    ("5.0\r\nhello\r\n0\r\n\r\n", None),
    ("5_\r\nhello\r\n0\r\n\r\n", None),
    ("5 5\r\nhello\r\n0\r\n\r\n", None),
    ("5,5\r\nhello\r\n0\r\n\r\n", None),
    ("\"5\"\r\nhello\r\n0\r\n\r\n", None),
    ("\r\nhello\r\n0\r\n\r\n", None),
    ("\r\n5\r\nhello\r\n0\r\n\r\n", None),
    ("g\r\nhello\r\n0\r\n\r\n", None),
    ("5\nhello\r\n0\r\n\r\n", None),
    ("5\rhello\r\n0\r\n\r\n", None),
    ("5\r\rhello\r\n0\r\n\r\n", None),
    ("5\n\rhello\r\n0\r\n\r\n", None),
    ("5\0\r\nhello\r\n0\r\n\r\n", None),
    ("5\x0b\r\nhello\r\n0\r\n\r\n", None),
    ("5;a\nhello\r\n0\r\n\r\n", None),
    ("5;a\rb\r\nhello\r\n0\r\n\r\n", None),
    ("5;a\nb\r\nhello\r\n0\r\n\r\n", None),
    ("5\r\nhello0\r\n\r\n", None),
    ("5\r\nhello\n0\r\n\r\n", None),
    ("5\r\nhello\r0\r\n\r\n", None),
    ("5\r\nhelloXX0\r\n\r\n", None),
    ("5\r\nhello\r\n\r\n0\r\n\r\n", None),
    ("4\r\nhello\r\n0\r\n\r\n", None),
    ("6\r\nhello\r\n0\r\n\r\n", None),
    ("10000000000000005\r\nhello\r\n0\r\n\r\n", None),
    ("100000005\r\nhello\r\n0\r\n\r\n", None),
    ("ffffffffffffffff\r\nhello\r\n0\r\n\r\n", None),
    ("7fffffffffffffff\r\nhello\r\n0\r\n\r\n", None),
    ("fffffffffffffffb\r\nhello\r\n0\r\n\r\n", None),
    ("5\r\nhello\r\n0\n\r\n", None),
    ("5\r\nhello\r\n-0\r\n\r\n", None),
    ("5\r\nhello\r\n0x0\r\n\r\n", None),
    ("5\r\nhello\r\n0 0\r\n\r\n", None),
];

fn chunks(corpus: &mut Corpus) {
    for (chunks, body) in CHUNKS {
        let head = format!(
            "POST {{t}} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{{s}}"
        );
        // A stream has begun when its framing breaks: the server may have seen its head, and never its end.
        corpus.add("chunks", head, false, body);
    }
}

/// What stands behind the last chunk, and what a reader could take for framing there.
const TRAILERS: [&str; 12] = [
    "0\r\nX: y\r\n\r\n",
    "0\r\nContent-Length: 50\r\n\r\n",
    "0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "0\r\nHost: other\r\n\r\n",
    "0\r\nConnection: keep-alive\r\n\r\n",
    "0\r\nX: y\n\r\n",
    "0\r\nX: y\n\n",
    "0\r\n\n",
    "0\r\n X: y\r\n\r\n",
    "0\r\nX\r\n\r\n",
    "0\r\n: y\r\n\r\n",
    "0\r\nX: \0\r\n\r\n",
];

fn trailers(corpus: &mut Corpus) {
    for trailer in TRAILERS {
        let head = format!(
            "POST {{t}} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n{trailer}{{s}}"
        );
        corpus.add("trailer", head, false, None);
    }
}

fn line_ends(corpus: &mut Corpus) {
    let whole = "POST {t} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello{s}";
    let (head, body) = whole.split_once("\r\n\r\n").unwrap();
    corpus.add("lines end in LF", head.replace("\r\n", "\n") + "\n\n" + body, false, Some(5));
    corpus.add("lines end in CR", head.replace("\r\n", "\r") + "\r\r" + body, true, None);
    corpus.add("the head ends in LF CRLF", format!("{head}\n\r\n{body}"), false, Some(5));
    corpus.add("the head ends in CRLF LF", format!("{head}\r\n\n{body}"), false, Some(5));
    corpus.add("the head ends in CR CR", format!("{head}\r\r{body}"), true, None);
    corpus.add("the head ends in CRLF CR", format!("{head}\r\n\r{body}"), true, None);
    corpus.add("the head ends in LF CR", format!("{head}\n\r{body}"), true, None);
    for (i, before) in
        ["\r\n", "\r\n\r\n", "\n", "\n\n", "\r", " ", "\t", "\0", "\u{feff}"].iter().enumerate()
    {
        corpus.add("before the request", format!("{before}{whole}"), i > 3, (i < 4).then_some(5));
    }
    for odd in ["\r", "\n", "\0", "\x01", "\x7f", "\r\r", "\x08", "\x1b"] {
        let value = format!("GET {{t}} HTTP/1.1\r\nHost: x\r\nX: a{odd}b\r\nConnection: close\r\n\r\n");
        corpus.add("in a value", value, true, None);
        let name = format!("GET {{t}} HTTP/1.1\r\nHost: x\r\nX{odd}: a\r\nConnection: close\r\n\r\n");
        corpus.add("in a name", name, true, None);
        let target = format!("GET {{t}}{odd} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        corpus.add("behind the target", target, true, None);
    }
    for fold in ["\r\n ", "\r\n\t", "\n ", "\r\n  \r\n "] {
        let folded = format!("GET {{t}} HTTP/1.1\r\nHost: x\r\nX: a{fold}b\r\nConnection: close\r\n\r\n");
        corpus.add("folded", folded, true, None);
        let first = format!("GET {{t}} HTTP/1.1{fold}Host: y\r\nHost: x\r\nConnection: close\r\n\r\n");
        corpus.add("folded at the begin", first, true, None);
    }
}

/// The request line, with what is odd in it.
const REQUEST_LINES: [(&str, bool); 34] = [
    ("GET  {t} HTTP/1.1", true),
    ("GET {t}  HTTP/1.1", true),
    ("GET\t{t} HTTP/1.1", true),
    ("GET {t}\tHTTP/1.1", true),
    (" GET {t} HTTP/1.1", true),
    ("GET {t} HTTP/1.1 ", true),
    ("GET {t} HTTP/1.1 HTTP/1.1", true),
    ("GET {t} /smuggled HTTP/1.1", true),
    ("GET {t} HTTP/1.1\x0b", true),
    ("GET {t}", true),
    ("GET {t} HTTP/0.9", true),
    ("GET {t} HTTP/1.2", true),
    ("GET {t} HTTP/1.", true),
    ("GET {t} HTTP/1", true),
    ("GET {t} HTTP/1.10", true),
    ("GET {t} HTTP/1.1x", true),
    ("GET {t} HTTP/01.1", true),
    ("GET {t} HTTP/2.0", true),
    ("GET {t} HTTP/3", true),
    ("GET {t} http/1.1", true),
    ("GET {t} HTTPS/1.1", true),
    ("GET {t} ICY/1.1", true),
    ("G<T {t} HTTP/1.1", true),
    ("GET: {t} HTTP/1.1", true),
    ("GET@ {t} HTTP/1.1", true),
    ("\"GET\" {t} HTTP/1.1", true),
    ("{t} HTTP/1.1", true),
    ("GET HTTP/1.1", true),
    ("CONNECT {t} HTTP/1.1", true),
    ("CONNECT x:80 HTTP/1.1", true),
    ("PRI * HTTP/2.0", true),
    ("get {t} HTTP/1.1", false),
    ("G!T {t} HTTP/1.1", false),
    ("GET {t} HTTP/1.1", false),
];

fn request_lines(corpus: &mut Corpus) {
    for (line, refused) in REQUEST_LINES {
        corpus.add("request line", format!("{line}\r\nHost: x\r\nConnection: close\r\n\r\n"), refused, None);
    }
    for method in ["HEAD", "DELETE", "OPTIONS", "TRACE", "PATCH", "LOCK"] {
        let head = format!(
            "{method} {{t}} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{{s}}",
            SMUGGLED.len()
        );
        corpus.add("a body with a method that needs none", head, false, Some(SMUGGLED.len()));
    }
}

/// The target in the absolute form, and the hosts.
const HOSTS: [(&str, &str, bool); 35] = [
    ("http://x{t}", "Host: x", false),
    ("http://X{t}", "Host: x", false),
    ("http://x:80{t}", "Host: x:80", false),
    ("http://x{t}", "Host: y", true),
    ("http://x:80{t}", "Host: x:81", true),
    ("http://y@x{t}", "Host: x", true),
    ("http://x@y{t}", "Host: x@y", true),
    ("http://x{t}", "Host: x\r\nHost: y", true),
    ("http://x{t}", "Host: y\r\nHost: x", true),
    ("http://x{t}", "Host: x, y", true),
    ("http://x{t}", "Host: ", true),
    ("http://{t}", "Host: x", true),
    ("http:{t}", "Host: x", true),
    ("http:/{t}", "Host: x", true),
    ("http://x y{t}", "Host: x", true),
    ("x{t}", "Host: x", true),
    ("{t}", "Host: x\r\nHost: x", true),
    ("{t}", "Host: x\r\nHost: y", true),
    ("{t}", "Host: x\r\nhOsT: y", true),
    ("{t}", "Host: x y", true),
    ("{t}", "Host: x\ty", true),
    ("{t}", "Host: x/y", true),
    ("{t}", "Host: x?y", true),
    ("{t}", "Host: x#y", true),
    ("{t}", "Host: y@x", true),
    ("{t}", "Host: x:80:80", true),
    ("{t}", "Host: x:http", true),
    ("{t}", "Host: x:+80", true),
    ("{t}", "Host: x:65536", true),
    ("{t}", "Host: [::1]80", true),
    ("{t}", "Host: [::1]:80", false),
    ("{t}", "Host: x:", false),
    ("{t}", "Host: [::1", true),
    ("{t}", "Host : x", true),
    ("{t}", "X: x", true),
];

fn hosts(corpus: &mut Corpus) {
    for (target, lines, refused) in HOSTS {
        let head = format!("GET {target} HTTP/1.1\r\n{lines}\r\nConnection: close\r\n\r\n");
        corpus.add("host", head, refused, None);
    }
}

/// Headers that `Connection` names, so that a proxy which obeys would change what the request is.
const NOMINATED: [&str; 16] = [
    "Content-Length",
    "content-length, close",
    "Transfer-Encoding",
    "Host",
    "close, Host, Content-Length",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "Cookie",
    "Authorization",
    "Upgrade",
    "upgrade, HTTP2-Settings",
    "TE",
    "Trailer",
    "keep-alive, close",
    ",,,close",
    "\"close\"",
];

fn nominated(corpus: &mut Corpus) {
    let length = SMUGGLED.len();
    for names in NOMINATED {
        let sized = format!(
            "POST {{t}} HTTP/1.1\r\nHost: x\r\nConnection: {names}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{{s}}"
        );
        corpus.add("nominated, with a length", sized, false, Some(length));
        let chunked = format!(
            "POST {{t}} HTTP/1.1\r\nHost: x\r\nConnection: {names}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{{s}}\r\n0\r\n\r\n"
        );
        corpus.add("nominated, with chunks", chunked, false, Some(length));
    }
}

fn header_names(corpus: &mut Corpus) {
    for name in
        ["", " ", "a b", "a\tb", "a(b", "a/b", "a,b", "a=b", "a[b", "a\"b", "a{b", "\u{e9}", "a;b", "a@b"]
    {
        let head = format!("GET {{t}} HTTP/1.1\r\nHost: x\r\n{name}: 1\r\nConnection: close\r\n\r\n");
        corpus.add("header name", head, true, None);
    }
    for line in ["X", "X 1", "=", "\u{0}"] {
        let head = format!("GET {{t}} HTTP/1.1\r\nHost: x\r\n{line}\r\nConnection: close\r\n\r\n");
        corpus.add("no header", head, true, None);
    }
}

/// Requests that speak of another protocol. None of them may leave an open pipe.
fn protocols(corpus: &mut Corpus) {
    let length = SMUGGLED.len();
    for lines in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
        "Connection: Upgrade\r\nUpgrade: h2c",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\nSec-WebSocket-Key: eA==",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0",
        "Upgrade: websocket",
    ] {
        let sized =
            format!("POST {{t}} HTTP/1.1\r\nHost: x\r\n{lines}\r\nContent-Length: {length}\r\n\r\n{{s}}");
        corpus.add("upgrade with a body", sized, false, Some(length));
        let http1 =
            format!("GET {{t}} HTTP/1.0\r\nHost: x\r\n{lines}\r\nContent-Length: {length}\r\n\r\n{{s}}");
        corpus.add("upgrade in HTTP/1.0", http1, false, Some(length));
    }
    for expect in ["100-continue", "100-Continue", "200-ok", "100-continue, 100-continue", ""] {
        let head = format!(
            "POST {{t}} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: {expect}\r\nContent-Length: {length}\r\n\r\n{{s}}"
        );
        corpus.add("expectation", head, false, None);
    }
}
