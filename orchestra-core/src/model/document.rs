//! The documents of a text.

/// How much work the YAML parser may have with lists and maps in brackets. For each token it looks at every
/// bracket that is open, so a few kilobytes of `[` would keep it busy for minutes. This is about a second; a
/// text of 16 MiB with all its items in ten brackets stays below.
const MAX_BRACKET_WORK: u64 = 100_000_000;

/// A part of a text: a YAML document, or JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Document<'a> {
    /// Its text, with the `---` before it.
    pub(super) text: &'a str,
    /// The line that it starts in, counted from one.
    pub(super) line: usize,
}

impl<'a> Document<'a> {
    /// Whether it looks like JSON: then its text, without what comes before. It may still be YAML.
    pub(super) fn json(&self) -> Option<&'a str> {
        let text = self.text.strip_prefix("---").unwrap_or(self.text).trim_start();
        text.starts_with(['{', '[']).then_some(text)
    }

    /// Why a YAML parser should not see it, if so.
    pub(super) fn check_work(&self) -> Result<(), &'static str> {
        // An estimate from above: brackets inside of text count too.
        let (mut open, mut work) = (0_u64, 0_u64);
        for byte in self.text.bytes() {
            match byte {
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = open.saturating_sub(1),
                b',' | b':' | b'?' | b'"' | b'\'' | b'&' | b'*' | b'!' | b'\n' => {}
                _ => continue,
            }
            work += open;
        }
        if work > MAX_BRACKET_WORK {
            return Err("has too many brackets (`[` and `{`) that are not closed: write it in block style");
        }
        // The parser compares each with all before it; and tags mean nothing here.
        if self.text.lines().any(|line| line.starts_with("%TAG")) {
            return Err("has a YAML directive `%TAG`, which means nothing in a manifest");
        }
        Ok(())
    }

    /// Its text after as many empty lines as the whole text has before it, so that a parser's lines are right.
    pub(super) fn padded(&self) -> String {
        "\n".repeat(self.line - 1) + self.text
    }
}

/// Whether a line starts a YAML document. At the start of a line `---` never means anything else, not even
/// inside of a block of text, and JSON can't have it there.
fn is_marker(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Splits a text at its `---` lines.
pub(super) fn documents(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut position) = (0, 1, 0);
    // Directives (`%YAML 1.2`) belong to the document behind the next marker.
    let (mut directives, mut content) = (false, false);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if is_marker(line) {
            if (content || !directives) && position > start {
                documents.push(Document { text: &text[start..position], line: start_line });
                (start, start_line) = (position, index + 1);
            }
            (directives, content) = (false, true);
        } else if line.starts_with('%') && !content {
            directives = true;
        } else if line.strip_prefix("...").is_some_and(|rest| rest.trim_start().is_empty()) {
            // Only after the end of a document may directives follow.
            content = false;
        } else if !line.trim_start().is_empty() && !line.trim_start().starts_with('#') {
            content = true;
        }
        position += line.len();
    }
    if position > start {
        documents.push(Document { text: &text[start..], line: start_line });
    }
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<(usize, &str)> {
        documents(text).into_iter().map(|d| (d.line, d.text)).collect()
    }

    #[test]
    fn texts_are_split_at_their_markers() {
        assert_eq!(split(""), []);
        assert_eq!(split("a: 1\n"), [(1, "a: 1\n")]);
        assert_eq!(
            split("---\na: 1\n--- # two\nb: |\n  ---\n---"),
            [(1, "---\na: 1\n"), (3, "--- # two\nb: |\n  ---\n"), (6, "---"),]
        );
        assert_eq!(split("----\n---x\n"), [(1, "----\n---x\n")]);
        assert_eq!(
            split("\u{feff}%YAML 1.2\n---\na: 1\r\n---\r\nb: 2"),
            [(1, "%YAML 1.2\n---\na: 1\r\n"), (4, "---\r\nb: 2"),]
        );
    }
}
