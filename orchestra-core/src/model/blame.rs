//! Reading a JSON value, with the path to what is wrong.
//!
//! The value is written to text and read from that: a reader of each kind is large, and there is one from text already. A reader of text
//! says only how far it came. That tells where it stopped, but for what is checked after it was read: then it has read on, past the
//! comma of a list, or past the end of what the value is the last of. What was meant is found by reading once more, with something
//! else there.

use std::fmt::Write as _;
use std::ops::Range;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// What a reader says of a text that is right where it expects a word, and where a list should have ended.
const NO_WORD: &str = "expected value";
const TOO_LONG: &str = "trailing characters";

/// What is wrong with a value, and where in it.
#[derive(Debug, PartialEq)]
pub(super) struct Blame {
    /// As `a.b[0].c`; empty for the whole.
    pub(super) path: String,
    pub(super) message: String,
}

/// Reads a value.
pub(super) fn read<T: DeserializeOwned>(value: Value) -> Result<T, Blame> {
    let json = value.to_string();
    drop(value);
    // As stored objects are.
    let read = |json: &str| serde_json::from_slice::<T>(json.as_bytes());
    read(&json).map_err(|error| blame(&json, &error, |json| Some(read(json).err()?.column())))
}

/// `again` reads another text, and says how far it came where something is wrong with that, too.
fn blame(json: &str, error: &serde_json::Error, again: impl Fn(&str) -> Option<usize>) -> Blame {
    // The text is one line, and a column of it a byte.
    let mut came = error.column();
    let last = |before: usize| before.checked_sub(1).and_then(|at| json.as_bytes().get(at).copied());
    let said = message(error);
    // Where a word should begin, what stands there has been looked at.
    if said == NO_WORD && last(came) != Some(b',') {
        came = came.saturating_sub(1);
    }
    let Some(mut place) = Place::of(json, came) else {
        return Blame { path: String::new(), message: said };
    };
    let Range { start, end } = place.span;
    let before = match came {
        // Another one in its place is not read where the one before it is wrong.
        _ if came == start && last(start) == Some(b',') => {
            let other = format!("{}null{}", &json[..start], &json[end..]);
            again(&other) == Some(came)
        }
        // One more behind it is not read where the last one in it is wrong.
        _ if came == end && matches!(last(end), Some(b'}' | b']')) && end - start > 2 => {
            let more = if last(end) == Some(b'}') { r#","":null"# } else { ",null" };
            let other = format!("{}{more}{}", &json[..end - 1], &json[end - 1..]);
            again(&other).is_some_and(|came| came <= end)
        }
        _ => false,
    };
    if before && let Some(before) = Place::of(json, came - 1) {
        place = before;
    }
    let message = match said.as_str() {
        NO_WORD => serde_json::from_str::<String>(&json[place.span]).err().as_ref().map_or(said, message),
        TOO_LONG => {
            place.path.truncate(place.path.rfind('[').unwrap_or_default());
            "has more elements than are expected".to_owned()
        }
        _ => said,
    };
    Blame { path: place.path, message }
}

/// What an error says, without where.
fn message(error: &serde_json::Error) -> String {
    let (message, place) =
        (error.to_string(), format!(" at line {} column {}", error.line(), error.column()));
    message.strip_suffix(&place).map(str::to_owned).unwrap_or(message)
}

/// A part of a JSON text.
#[derive(Debug)]
struct Place {
    path: String,
    span: Range<usize>,
}

/// What of an object or a list is read.
enum At {
    /// The field of this name, which stands there with its quotes.
    Field(Range<usize>),
    Item(usize),
}

impl Place {
    /// The innermost value of this text, which is well-formed and has no space between values, that a reader has come to, was in, or
    /// has just read, after so many bytes.
    fn of(json: &str, after: usize) -> Option<Self> {
        let bytes = json.as_bytes();
        // Where the objects and lists begin that have not ended, and what of them is read.
        let mut open = Vec::<(usize, At)>::new();
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            at += 1;
            let start = match bytes[start] {
                b'{' => {
                    open.push((start, At::Field(0..0)));
                    continue;
                }
                b'[' => {
                    open.push((start, At::Item(0)));
                    continue;
                }
                b',' => {
                    if let (_, At::Item(index)) = open.last_mut()? {
                        *index += 1;
                    }
                    continue;
                }
                b':' => continue,
                b'}' | b']' => open.pop()?.0,
                b'"' => {
                    while bytes[at] != b'"' {
                        at += if bytes[at] == b'\\' { 2 } else { 1 };
                    }
                    at += 1;
                    if bytes.get(at) == Some(&b':') {
                        open.last_mut()?.1 = At::Field(start..at);
                        continue;
                    }
                    start
                }
                _ => {
                    let rest = bytes[at..].iter().take_while(|byte| !matches!(byte, b',' | b'}' | b']'));
                    at += rest.count();
                    start
                }
            };
            if start <= after && after <= at {
                let path = path(json, open.iter().map(|(_, at)| at));
                return Some(Self { path, span: start..at });
            }
        }
        None
    }
}

/// The path to what is read inside of these.
fn path<'a>(json: &str, open: impl Iterator<Item = &'a At>) -> String {
    let mut path = String::new();
    for at in open {
        match at {
            At::Field(field) => {
                let name: String = serde_json::from_str(&json[field.clone()]).unwrap_or_default();
                path.push_str(if path.is_empty() { "" } else { "." });
                path.push_str(&name);
            }
            At::Item(index) => write!(path, "[{index}]").expect("a string takes all"),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;
    use serde::de::Error as _;
    use serde_json::json;

    use super::*;

    /// Text that is checked after it has been read, as types do that have no visitor of their own.
    #[derive(Debug)]
    struct Even;

    impl<'de> Deserialize<'de> for Even {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            match String::deserialize(deserializer)?.len() % 2 {
                0 => Ok(Self),
                _ => Err(D::Error::custom("is odd")),
            }
        }
    }

    /// An object that is checked as a whole.
    #[derive(Debug, Deserialize)]
    #[serde(try_from = "Pair")]
    struct Ordered;

    #[derive(Deserialize)]
    struct Pair {
        low: i32,
        high: i32,
    }

    impl TryFrom<Pair> for Ordered {
        type Error = &'static str;

        fn try_from(Pair { low, high }: Pair) -> Result<Self, Self::Error> {
            if low <= high { Ok(Self) } else { Err("are not in order") }
        }
    }

    #[derive(Debug, Deserialize)]
    enum Word {
        Yes,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Sample {
        number: u8,
        even: Option<Even>,
        evens: BTreeMap<String, Even>,
        list: Vec<Even>,
        words: Vec<Word>,
        ordered: Option<Ordered>,
        pairs: Vec<Ordered>,
        inner: Option<Box<Sample>>,
    }

    #[test]
    fn what_is_wrong_is_found_wherever_it_stands() {
        let cases = [
            (json!({"number": 300}), "number", "invalid value: integer `300`, expected u8"),
            (json!({"number": "a", "z": 1}), "number", "invalid type: string \"a\", expected u8"),
            (json!({"number": [1]}), "number", "invalid type: sequence, expected u8"),
            (json!({"even": "abc"}), "even", "is odd"),
            (json!({"even": "abc", "number": 1}), "even", "is odd"),
            (json!({"even": {}, "number": 1}), "even", "invalid type: map, expected a string"),
            (json!({"inner": {"even": "a\"b"}}), "inner.even", "is odd"),
            (json!({"inner": {"even": "abc"}, "number": 1}), "inner.even", "is odd"),
            (json!({"evens": {"a": "ab", "b.c": "abc"}}), "evens.b.c", "is odd"),
            (json!({"evens": {"a": "abc", "b": "ab"}, "number": 1}), "evens.a", "is odd"),
            (json!({"list": ["ab", "abc", ""]}), "list[1]", "is odd"),
            (json!({"words": ["Yes", "No"]}), "words[1]", "unknown variant `No`, expected `Yes`"),
            (json!({"words": [5]}), "words[0]", "invalid type: integer `5`, expected a string"),
            (json!({"words": [{}], "z": 1}), "words[0]", "invalid type: map, expected a string"),
            (json!({"ordered": {"low": 2, "high": 1}}), "ordered", "are not in order"),
            (json!({"ordered": {"low": 2}}), "ordered", "missing field `high`"),
            (json!({"pairs": [{"high": 2, "low": 1}, {"high": 2}]}), "pairs[1]", "missing field `low`"),
            (
                json!({"inner": {"ordered": {"high": 2, "low": "x"}}}),
                "inner.ordered.low",
                "invalid type: string \"x\", expected i32",
            ),
            (
                json!({"inner": {"inner": [300]}}),
                "inner.inner[0]",
                "invalid value: integer `300`, expected u8",
            ),
            (json!({"list": ["ab", "abc"]}), "list[1]", "is odd"),
            (json!({"list": ["abc", ["ab"]]}), "list[0]", "is odd"),
            (json!({"list": ["ab", ["ab"]]}), "list[1]", "invalid type: sequence, expected a string"),
            (json!({"pairs": [{"high": 1, "low": 2}, {}]}), "pairs[0]", "are not in order"),
            (json!([{}]), "[0]", "invalid type: map, expected u8"),
            (json!(7), "", "invalid type: integer `7`, expected struct Sample"),
        ];
        for (value, path, message) in cases {
            let blame = read::<Sample>(value.clone()).unwrap_err();
            let expected = Blame { path: path.to_owned(), message: message.to_owned() };
            assert_eq!(blame, expected, "{value}");
        }
        assert!(read::<Sample>(json!({"even": "ab", "evens": {"a\\\"": ""}, "inner": {}})).is_ok());
    }

    /// Values that are often nearly right.
    fn values() -> impl Strategy<Value = Value> {
        let text = prop::sample::select(vec!["", "a", "ab", "Yes", "\"]},{[:\\"]).prop_map(Value::from);
        let leaf = prop_oneof![3 => text, 2 => (-1_i64..400).prop_map(Value::from), 1 => Just(Value::Null)];
        let names =
            ["number", "even", "evens", "list", "words", "ordered", "pairs", "inner", "low", "high", "\"."];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            let fields =
                prop::collection::btree_map(prop::sample::select(names.to_vec()), inner.clone(), 0..4);
            let object = fields.prop_map(Value::from_iter);
            prop_oneof![3 => object, 1 => prop::collection::vec(inner, 0..4).prop_map(Value::from)]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn the_path_is_that_of_a_reader_that_keeps_track(value in values()) {
            let tracked = serde_path_to_error::deserialize::<_, Sample>(value.clone()).err().map(|error| {
                let path = error.path().to_string();
                (if path == "." { String::new() } else { path }, error.into_inner().to_string())
            });
            let blame = read::<Sample>(value.clone()).err().map(|blame| (blame.path, blame.message));
            // An object in place of a word, and too long a list in place of an object, are refused with other words.
            let refused = |message: &str| message.contains("string or map") || message.contains("map with a single key")
                || message.ends_with("expected fewer elements in array");
            if let (Some((path, _)), Some((expected, message))) = (&blame, &tracked) && refused(message) {
                prop_assert_eq!(path, expected, "{}", message);
                return Ok(());
            }
            prop_assert_eq!(blame, tracked);
        }
    }
}
