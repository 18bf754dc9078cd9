//! The two messages of a health check, as protocol buffers in gRPC's frames.
//!
//! A question is one string (field 1), an answer one number (field 1): by hand that is less than a code generator
//! asks for.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// The tag of field 1 as text.
const SERVICE: u8 = 1 << 3 | 2;
/// The tag of field 1 as a number.
const STATUS: u64 = 1 << 3;
/// A frame's head: whether it is compressed, and its length.
const HEAD: usize = 5;

/// What a health service answers: the protocol's enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServingStatus {
    Unknown,
    Serving,
    NotServing,
    ServiceUnknown,
    /// A number that the protocol does not have.
    Other(u64),
}

impl fmt::Display for ServingStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("UNKNOWN"),
            Self::Serving => f.write_str("SERVING"),
            Self::NotServing => f.write_str("NOT_SERVING"),
            Self::ServiceUnknown => f.write_str("SERVICE_UNKNOWN"),
            Self::Other(number) => write!(f, "status {number}"),
        }
    }
}

/// The frame that asks about `service`; a default value, the empty text, is left out.
pub(super) fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(SERVICE);
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(HEAD + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(&message);
    frame.freeze()
}

fn put_varint(out: &mut BytesMut, mut n: u64) {
    loop {
        let [low, ..] = n.to_le_bytes();
        n >>= 7;
        if n == 0 {
            return out.put_u8(low);
        }
        out.put_u8(low | 0x80);
    }
}

/// What the frame answers.
pub(super) fn answer(frame: &[u8]) -> Result<ServingStatus, String> {
    let (head, message) = frame.split_first_chunk::<HEAD>().ok_or("its answer has no message")?;
    let [compressed, length @ ..] = *head;
    if compressed != 0 {
        return Err("its answer is compressed, which was not asked for".to_owned());
    }
    if usize::try_from(u32::from_be_bytes(length)) != Ok(message.len()) {
        return Err("its answer is not one whole message".to_owned());
    }
    status(message).ok_or_else(|| "its answer is no HealthCheckResponse".to_owned())
}

/// Field 1 of the message; the last one counts, a missing one is 0, and fields of a later protocol are passed over.
fn status(mut message: &[u8]) -> Option<ServingStatus> {
    let mut status = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match (tag, tag & 7) {
            (STATUS, _) => status = varint(&mut message)?,
            (_, 0) => {
                varint(&mut message)?;
            }
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(match status {
        0 => ServingStatus::Unknown,
        1 => ServingStatus::Serving,
        2 => ServingStatus::NotServing,
        3 => ServingStatus::ServiceUnknown,
        other => ServingStatus::Other(other),
    })
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_those_that_other_clients_send() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("shop.Cart")[..], b"\0\0\0\0\x0b\x0a\x09shop.Cart");
        let long = question(&"x".repeat(300));
        assert_eq!(&long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
    }

    #[test]
    fn answers_are_read() {
        for (frame, expected) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], Ok(ServingStatus::Serving)),
            (b"\0\0\0\0\x02\x08\x02", Ok(ServingStatus::NotServing)),
            (b"\0\0\0\0\x02\x08\x03", Ok(ServingStatus::ServiceUnknown)),
            (b"\0\0\0\0\0", Ok(ServingStatus::Unknown)),
            (b"\0\0\0\0\x03\x08\xac\x02", Ok(ServingStatus::Other(300))),
            // Fields that a later version of the protocol might have, of each wire type.
            (b"\0\0\0\0\x09\x12\x01x\x18\x07\x08\x01\x20\x05", Ok(ServingStatus::Serving)),
            (b"\0\0\0\0\x07\x08\x01\x2d1234", Ok(ServingStatus::Serving)),
            (b"\0\0\0\0\x0b\x31\x00\x00\x00\x00\x00\x00\x00\x00\x08\x01", Ok(ServingStatus::Serving)),
        ] {
            assert_eq!(answer(frame), expected, "{frame:?}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for frame in [
            &b""[..],
            b"\0\0\0",
            b"\x01\0\0\0\x02\x08\x01",
            b"\0\0\0\0\x03\x08\x01",
            b"\0\0\0\0\x02\x08\x01\0",
            b"\0\0\0\0\x01\x08",
            b"\0\0\0\0\x02\x12\x7f",
            b"\0\0\0\0\x01\x0b",
            b"\0\0\0\0\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\0\xff\xff\xff\xff",
        ] {
            assert!(answer(frame).is_err(), "{frame:?}");
        }
    }
}
