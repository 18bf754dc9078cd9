//! One record of a log file: `<RFC 3339 time> <stdout|stderr> <F|P> <text>`.
//!
//! `F` ends a line, `P` is a part of one: of a line that was too long, or the last one without a line feed.

use orchestra_core::model::Timestamp;
use orchestra_core::runtime::LogSource;

/// A record, without the line feed that ends it on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) at: Timestamp,
    pub(crate) source: LogSource,
    /// Whether the text ended with a line feed.
    pub(crate) full: bool,
    pub(crate) text: &'a [u8],
}

impl<'a> Line<'a> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let source = match self.source {
            LogSource::Stdout => "stdout",
            LogSource::Stderr => "stderr",
        };
        let tag = if self.full { 'F' } else { 'P' };
        out.extend_from_slice(format!("{} {source} {tag} ", self.at).as_bytes());
        out.extend_from_slice(self.text);
        out.push(b'\n');
    }

    pub(crate) fn decode(record: &'a [u8]) -> Option<Self> {
        let mut fields = record.splitn(4, |byte| *byte == b' ');
        let at = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let source = match fields.next()? {
            b"stdout" => LogSource::Stdout,
            b"stderr" => LogSource::Stderr,
            _ => return None,
        };
        let full = match fields.next()? {
            b"F" => true,
            b"P" => false,
            _ => return None,
        };
        Some(Self { at, source, full, text: fields.next()? })
    }

    /// How many bytes the program wrote for it.
    pub(crate) fn written(&self) -> u64 {
        self.text.len() as u64 + u64::from(self.full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip_whatever_the_text_holds() {
        for (full, text) in [(true, &b"two words"[..]), (false, b""), (true, b" \xff\x00 "), (true, b"F F")] {
            let at = "2026-01-31T08:00:00.5Z".parse().unwrap();
            let line = Line { at, source: LogSource::Stderr, full, text };
            let mut out = Vec::new();
            line.encode(&mut out);
            assert_eq!(out.pop(), Some(b'\n'));
            assert_eq!(Line::decode(&out), Some(line));
        }
        assert_eq!(Line::decode(b"2026-01-31T08:00:00Z stdout X text"), None);
        assert_eq!(Line::decode(b"nonsense"), None);
    }
}
