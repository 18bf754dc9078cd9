//! The line of a field.
//!
//! The parsers give no positions with their values, but with their errors they do. So the text is read once
//! more, along the path, and the reading fails on purpose where the path ends.

use std::fmt;

use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess};

/// The line in the YAML document `text` of the field at `path`, or of the deepest part of the path that is there.
pub(super) fn yaml_line(text: &str, document: usize, path: &str) -> Option<usize> {
    let deserializer = serde_yaml_ng::Deserializer::from_str(text).nth(document)?;
    let error = de::DeserializeSeed::deserialize(Walk(path), deserializer).err()?;
    error.location().map(|l| l.line())
}

/// The line in the JSON `text` of the field at `path`, or of the deepest part of the path that is there.
pub(super) fn json_line(text: &str, path: &str) -> Option<usize> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let error = de::DeserializeSeed::deserialize(Walk(path), &mut deserializer).err()?;
    (error.line() > 0).then(|| error.line())
}

/// Follows the rest of a path.
#[derive(Clone, Copy)]
struct Walk<'a>(&'a str);

impl<'a> Walk<'a> {
    /// What remains of the path inside of the field `key`, where the path leads there.
    fn field(self, key: &str) -> Option<Self> {
        let rest = self.0.strip_prefix(key)?;
        match rest.strip_prefix('.') {
            Some(rest) => Some(Self(rest)),
            None => (rest.is_empty() || rest.starts_with('[')).then_some(Self(rest)),
        }
    }

    /// The item that the path leads to, and what remains of the path inside of it.
    fn item(self) -> Option<(usize, Self)> {
        let (index, rest) = self.0.strip_prefix('[')?.split_once(']')?;
        Some((index.parse().ok()?, Self(rest.strip_prefix('.').unwrap_or(rest))))
    }

    fn here<E: de::Error>(self) -> E {
        E::custom("the path ends here")
    }
}

impl<'de> de::DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! ends {
    ($($method:ident($type:ty)),*) => {$(
        fn $method<E: de::Error>(self, _: $type) -> Result<(), E> {
            Err(self.here())
        }
    )*};
}

impl<'de> de::Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path")
    }

    ends! { visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str) }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Err(self.here())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        if let Some((index, rest)) = self.item() {
            for _ in 0..index {
                if access.next_element::<IgnoredAny>()?.is_none() {
                    return Err(self.here());
                }
            }
            access.next_element_seed(rest)?;
        }
        Err(self.here())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        if self.0.is_empty() {
            return Err(self.here());
        }
        while let Some(key) = access.next_key::<String>()? {
            match self.field(&key) {
                Some(rest) => access.next_value_seed(rest)?,
                None => {
                    access.next_value::<IgnoredAny>()?;
                }
            }
        }
        Err(self.here())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_its_line() {
        let yaml = "a:\n  example.com/b: 1\n  list:\n  - x: 1\n  - x:\n      y: 2\n";
        let lines = [
            ("a.example.com/b", 2),
            ("a.list[0].x", 4),
            ("a.list[1].x.y", 6),
            ("a.list[1].x.z", 6),
            ("q", 1),
        ];
        for (path, line) in lines {
            assert_eq!(yaml_line(yaml, 0, path), Some(line), "{path}");
        }
        let json = "{\n \"a\": [\n  {\"x\": 1},\n  {\"x\": 2}\n ]\n}";
        for (path, line) in [("a[0].x", 3), ("a[1].x", 4)] {
            assert_eq!(json_line(json, path), Some(line), "{path}");
        }
        assert_eq!(yaml_line("a: [1", 0, "b"), Some(2), "as far as it can be read");
    }
}
