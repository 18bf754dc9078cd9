//! What [`object!`](super::object!) needs of serde_json, so that who uses it doesn't.

use serde::Serialize;
pub use serde_json::Value;

/// An object as a JSON value.
pub fn value_of(object: &impl Serialize) -> Value {
    // A manifest's maps have text as keys, so this can't fail.
    serde_json::to_value(object).unwrap_or_default()
}

/// Appends an object as JSON text.
pub fn write(object: &impl Serialize, out: &mut Vec<u8>) {
    // See above; and memory takes all that is written to it.
    serde_json::to_writer(out, object).ok();
}

/// How deep an object may be nested: what serde_json, which reads it from a store again, gives up at is one more.
pub(crate) const MAX_DEPTH: usize = 127;

/// Whether `value` is nested deeper than `most`.
pub(crate) fn is_deeper(value: &Value, most: usize) -> bool {
    match value {
        Value::Array(items) => most == 0 || items.iter().any(|item| is_deeper(item, most - 1)),
        Value::Object(fields) => most == 0 || fields.values().any(|field| is_deeper(field, most - 1)),
        _ => false,
    }
}

/// How deep JSON text is nested.
pub(crate) fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_deep_as_may_be_can_be_read_and_nothing_deeper() {
        let nested =
            |depth: usize| (0..depth).fold(Value::from("[{\\\""), |inner, _| Value::Array(vec![inner]));
        for n in [0, 1, MAX_DEPTH, MAX_DEPTH + 1] {
            let text = serde_json::to_vec(&nested(n)).unwrap();
            assert_eq!(depth(&text), n);
            assert_eq!(is_deeper(&nested(n), MAX_DEPTH), n > MAX_DEPTH);
            assert_eq!(serde_json::from_slice::<Value>(&text).is_ok(), n <= MAX_DEPTH, "{n}");
        }
    }
}
