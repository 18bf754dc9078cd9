//! Parameters of a query.

use std::borrow::Cow;

/// Whether a query has all of these. Of several of a name, the first counts.
pub(super) fn has(query: Option<&str>, wanted: &[(String, String)]) -> bool {
    let query = query.unwrap_or_default();
    wanted.iter().all(|(name, value)| {
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let mut named = pairs.filter(|(found, _)| *decoded(found) == *name.as_bytes());
        named.next().is_some_and(|(_, found)| *decoded(found) == *value.as_bytes())
    })
}

/// Without what forms encode: `+` is a space, and `%` begins a byte in two digits. What is no such byte stays.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let encoded = (*first == b'%').then(|| behind.first_chunk::<2>()).flatten().and_then(byte);
        bytes.push(encoded.unwrap_or(if *first == b'+' { b' ' } else { *first }));
        rest = if encoded.is_some() { &behind[2..] } else { behind };
    }
    Cow::Owned(bytes)
}

fn byte(digits: &[u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(digits[0])? * 16 + digit(digits[1])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_name_counts_whatever_is_encoded() {
        let holds =
            |query: &str, name: &str, value: &str| has(Some(query), &[(name.to_owned(), value.to_owned())]);
        for query in ["a=1", "b=2&a=1", "a=1&a=2", "%61=%31", "a=1&", "&a=1"] {
            assert!(holds(query, "a", "1"), "{query}");
        }
        for query in ["", "a", "a=2&a=1", "aa=1", "a=11", "a=%1", "A=1"] {
            assert!(!holds(query, "a", "1"), "{query}");
        }
        assert!(holds("q=one+two%2Bthree%zz", "q", "one two+three%zz"));
        assert!(
            !has(None, &[("a".to_owned(), String::new())])
                && has(Some("a"), &[("a".to_owned(), String::new())])
        );
    }
}
