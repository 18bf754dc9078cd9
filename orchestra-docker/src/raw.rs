//! What terminals show, as it comes. It has no frames, and the engine's client takes it for lines, whose ends it waits for without
//! bound, and each byte below 3 for the beginning of a frame. So it is asked for without the client, where the engine is at a
//! socket of this host.

use std::path::PathBuf;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::{ClientVersion, Docker};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::logs::Messages;

/// Where the engine is where nobody says it.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// How long the engine may take to begin an answer: its client's own limit.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// What comes before the body, and the words of an error, are shorter.
const HEAD_LIMIT: usize = 16 * 1024;

/// What is read at once.
const READ_BYTES: usize = 8 * 1024;

/// Of a longer line the engine logs each so many bytes as a message of their own, with a time and without an end.
const PIECE: usize = 16 * 1024;

/// The time that a message begins with is shorter.
const STAMP_LIMIT: usize = 64;

/// An engine at a socket of this host.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    socket: PathBuf,
    version: ClientVersion,
}

/// What the engine's answer begins with, and the connection on which it goes on.
type Answer = (BytesMut, UnixStream);

impl Local {
    /// The engine at this address, or where the environment says, if that is a socket.
    pub(crate) fn of(host: Option<&str>, docker: &Docker) -> Option<Self> {
        let host = host.map(str::to_owned).or_else(|| std::env::var("DOCKER_HOST").ok());
        let host = host.unwrap_or_else(|| DEFAULT_HOST.to_owned());
        Some(Self { socket: host.strip_prefix("unix://")?.into(), version: docker.client_version() })
    }

    /// Asks for what this names, such as `GET /info`, with further lines of the head, and a body.
    async fn ask(&self, what: &str, protocol: &str, lines: &str, body: &str) -> Result<Answer, Error> {
        let (method, path) = what.split_once(' ').unwrap_or(("GET", what));
        let ClientVersion { major_version: major, minor_version: minor } = self.version;
        let head =
            format!("{method} /v{major}.{minor}{path} HTTP/{protocol}\r\nHost: docker\r\n{lines}\r\n{body}");
        let answer = async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            stream.write_all(head.as_bytes()).await?;
            let mut read = BytesMut::new();
            let (head, mut read) = loop {
                if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                    let head = read.split_to(end + 4);
                    break (String::from_utf8_lossy(&head).into_owned(), read);
                }
                more(&mut stream, &mut read).await?;
            };
            let status = head.split_ascii_whitespace().nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
            if matches!(status, 101 | 200) {
                return Ok((read, stream));
            }
            let length = content_length(&head);
            while read.len() < length {
                more(&mut stream, &mut read).await?;
            }
            let words: Option<serde_json::Value> = serde_json::from_slice(&read).ok();
            let message = words.as_ref().and_then(|words| words["message"].as_str());
            let message = message.map_or_else(|| String::from_utf8_lossy(&read).into_owned(), str::to_owned);
            Err(Error::DockerResponseServerError { status_code: status, message })
        };
        tokio::time::timeout(ANSWER_LIMIT, answer).await.map_err(|_elapsed| Error::RequestTimeoutError)?
    }

    /// The messages of a terminal's log, each with its time.
    pub(crate) fn log(self, docker_id: &str, query: &str) -> Messages {
        let what = format!("GET /containers/{docker_id}/logs?{query}");
        // In this version an answer has no chunks: it ends with the connection.
        let opened = async move { self.ask(&what, "1.0", "", "").await };
        let messages = stream::once(opened).map_ok(|(begun, stream)| messages(begun, stream));
        messages.try_flatten().boxed()
    }

    /// A connection to a terminal: what it shows, and its input.
    pub(crate) async fn terminal(
        &self,
        what: &str,
        body: &str,
    ) -> Result<(Messages, tokio::io::WriteHalf<UnixStream>), Error> {
        let lines = format!(
            "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
        let (begun, stream) = self.ask(what, "1.1", &lines, body).await?;
        let (output, input) = tokio::io::split(stream);
        let begun = stream::iter((!begun.is_empty()).then(|| Ok(console(begun.freeze()))));
        let rest = stream::try_unfold(output, |mut output| async {
            let mut piece = BytesMut::with_capacity(READ_BYTES);
            let length = output.read_buf(&mut piece).await?;
            Ok((length > 0).then(|| (console(piece.freeze()), output)))
        });
        Ok((begun.chain(rest).boxed(), input))
    }
}

fn console(message: Bytes) -> LogOutput {
    LogOutput::Console { message }
}

fn content_length(head: &str) -> usize {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().and_then(|(_, length)| length.trim().parse().ok()).unwrap_or(0).min(HEAD_LIMIT)
}

/// Reads on in a head, or the words of an error: both end, and are short.
async fn more(stream: &mut UnixStream, read: &mut BytesMut) -> Result<(), Error> {
    read.reserve(READ_BYTES);
    if read.len() > 2 * HEAD_LIMIT || stream.read_buf(read).await? == 0 {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
    }
    Ok(())
}

fn messages<R: AsyncRead + Unpin + Send>(
    begun: BytesMut,
    stream: R,
) -> impl Stream<Item = Result<LogOutput, Error>> + Send {
    stream::try_unfold((begun, stream), |(mut read, mut stream)| async {
        loop {
            if let Some(message) = message(&mut read) {
                return Ok(Some((LogOutput::StdOut { message }, (read, stream))));
            }
            read.reserve(READ_BYTES);
            if stream.read_buf(&mut read).await? == 0 {
                let last = (!read.is_empty()).then(|| LogOutput::StdOut { message: read.split().freeze() });
                return Ok(last.map(|last| (last, (read, stream))));
            }
        }
    })
}

/// Takes the first message out of what was read, once it is complete: a time, and a line or a [`PIECE`] of one.
fn message(read: &mut BytesMut) -> Option<Bytes> {
    let stamp = read.iter().take(STAMP_LIMIT).position(|byte| *byte == b' ');
    let begin = match stamp {
        Some(space) => space + 1,
        None if read.len() < STAMP_LIMIT => return None,
        None => 0,
    };
    let end = read[begin..].iter().take(PIECE).position(|byte| *byte == b'\n').map(|at| begin + at + 1);
    let end = end.or((read.len() >= begin + PIECE).then_some(begin + PIECE))?;
    Some(read.split_to(end).freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_are_lines_and_pieces_of_them() {
        const AT: &str = "2026-01-31T08:00:00.123456789Z ";
        let (long, last) = (format!("{AT}{}", "\r".repeat(PIECE)), format!("{AT}rest\n"));
        let lines =
            [format!("{AT}one\r\n"), format!("{AT}\n"), long.clone(), long, last, format!("{AT}\u{1}half")];
        let text = lines.concat();
        let read = messages(BytesMut::from(&text[..50]), &text.as_bytes()[50..]);
        let read: Vec<_> = read.map(|message| message.unwrap().into_bytes()).collect().await;
        assert_eq!(read, lines.map(Bytes::from));
    }

    #[test]
    fn a_body_is_as_long_as_its_head_says() {
        assert_eq!(content_length("HTTP/1.1 409 Conflict\r\ncontent-length: 17\r\n\r\n"), 17);
        assert_eq!(content_length("HTTP/1.1 409 Conflict\r\nContent-Length: 99999999\r\n\r\n"), HEAD_LIMIT);
    }
}
