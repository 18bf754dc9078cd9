//! Checksummed frames: what a log segment and a snapshot consist of.
//!
//! A frame is `FF "ORC"`, the length of its content (u32), the CRC-32 of length and content (u32), and the content;
//! numbers are little-endian. The byte FF occurs in no UTF-8 text, so that no object can contain a frame.

use std::io::{self, BufReader, Read};

const MAGIC: [u8; 4] = *b"\xFFORC";
/// The bytes in front of a frame's content.
const HEADER: usize = 12;
/// How many bytes are read at once, as most frames are small.
const BUFFER: usize = 64 << 10;

/// Makes a frame in `buffer` out of the content that `fill` appends.
///
/// # Errors
/// Where the content is over 4 GiB.
pub(super) fn write<E>(
    buffer: &mut Vec<u8>,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E>
where
    E: From<io::Error>,
{
    let start = buffer.len();
    buffer.extend_from_slice(&MAGIC);
    buffer.extend_from_slice(&[0; HEADER - MAGIC.len()]);
    fill(buffer)?;
    let content = start + HEADER;
    let len = u32::try_from(buffer.len() - content)
        .map_err(|_too_large| io::Error::new(io::ErrorKind::FileTooLarge, "a frame holds at most 4 GiB"))?;
    buffer[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
    let sum = checksum(len, &buffer[content..]);
    buffer[start + 8..start + 12].copy_from_slice(&sum.to_le_bytes());
    Ok(())
}

fn checksum(len: u32, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&len.to_le_bytes());
    hasher.update(content);
    hasher.finalize()
}

/// What a reader finds.
#[derive(Debug)]
pub(super) enum Next {
    /// The content of a frame.
    Frame(Vec<u8>),
    /// The end of the file.
    End,
    /// Something else, and whether a frame comes behind it. Reading ends here.
    Bad {
        /// Whether there is a whole frame further on.
        more: bool,
    },
}

/// Reads frames one after the other.
pub(super) struct Frames {
    file: BufReader<Box<dyn Read>>,
    offset: u64,
    len: u64,
}

impl Frames {
    /// A reader of `file`, which is `len` bytes long, from its current place at `offset`.
    pub(super) fn new(file: Box<dyn Read>, offset: u64, len: u64) -> Self {
        Self { file: BufReader::with_capacity(BUFFER, file), offset, len }
    }

    /// Where the next frame begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame.
    ///
    /// # Errors
    /// Where the file can't be read.
    pub(super) fn next(&mut self) -> io::Result<Next> {
        let left = usize::try_from(self.len.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(Next::End);
        }
        let mut head = Vec::with_capacity(HEADER);
        (&mut self.file).take(HEADER as u64).read_to_end(&mut head)?;
        let Some((len, sum)) = header(&head).filter(|(len, _)| *len as usize <= left - HEADER) else {
            return self.bad(head);
        };
        let mut content = Vec::with_capacity(len as usize);
        (&mut self.file).take(u64::from(len)).read_to_end(&mut content)?;
        if content.len() < len as usize || checksum(len, &content) != sum {
            head.append(&mut content);
            return self.bad(head);
        }
        self.offset += (HEADER + content.len()) as u64;
        Ok(Next::Frame(content))
    }

    fn bad(&mut self, mut bytes: Vec<u8>) -> io::Result<Next> {
        self.file.read_to_end(&mut bytes)?;
        Ok(Next::Bad { more: contains_frame(bytes.get(1..).unwrap_or_default()) })
    }
}

/// The length and checksum in a frame's header.
fn header(bytes: &[u8]) -> Option<(u32, u32)> {
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (sum, _) = rest.split_first_chunk::<4>()?;
    (*magic == MAGIC).then(|| (u32::from_le_bytes(*len), u32::from_le_bytes(*sum)))
}

/// Whether there is a whole frame anywhere in `bytes`.
pub(super) fn contains_frame(bytes: &[u8]) -> bool {
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == MAGIC[0]).map(|(at, _)| &bytes[at..]);
    starts.into_iter().any(|bytes| {
        header(bytes).is_some_and(|(len, sum)| {
            let content = bytes.get(HEADER..).and_then(|rest| rest.get(..len as usize));
            content.is_some_and(|content| checksum(len, content) == sum)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(contents: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for content in contents {
            write::<io::Error>(&mut bytes, |buffer| {
                buffer.extend_from_slice(content);
                Ok(())
            })
            .unwrap();
        }
        bytes
    }

    fn read(bytes: &[u8]) -> (usize, Next) {
        let mut frames = Frames::new(Box::new(io::Cursor::new(bytes.to_vec())), 0, bytes.len() as u64);
        let mut count = 0;
        loop {
            match frames.next().unwrap() {
                Next::Frame(_) => count += 1,
                end => return (count, end),
            }
        }
    }

    #[test]
    fn a_frame_that_is_cut_anywhere_is_bad_and_the_last() {
        let bytes = frames(&[b"one", b"two two"]);
        let first = frames(&[b"one"]).len();
        assert!(matches!(read(&bytes), (2, Next::End)));
        for cut in first + 1..bytes.len() {
            assert!(matches!(read(&bytes[..cut]), (1, Next::Bad { more: false })), "cut at {cut}");
        }
    }

    #[test]
    fn a_changed_byte_is_found_and_frames_behind_it_too() {
        let bytes = frames(&[b"one", b"two two"]);
        let first = frames(&[b"one"]).len();
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0x10;
            let (count, end) = read(&broken);
            assert_eq!(count, usize::from(at >= first));
            assert!(matches!(end, Next::Bad { more } if more == (at < first)), "changed at {at}");
        }
    }
}
