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
