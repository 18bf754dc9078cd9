//! JSON values read strictly: nothing twice, nothing too deep, nothing that grows.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{self, Deserializer, EnumAccess, MapAccess, SeqAccess};
use serde_json::{Map, Number, Value};

use super::ManifestProblem;

/// How deep lists and maps may be in each other. The deepest known manifests, schemas of custom resources,
/// stay below 50; both parsers give up at 128 by themselves.
const MAX_DEPTH: usize = 100;

/// How large all values of a text may be together once its aliases are followed, in bytes: four times what the
/// text itself may have, for texts use aliases to save a few lines.
const MAX_EXPANDED_BYTES: usize = 4 * super::MAX_MANIFEST_BYTES;

/// What a value costs beside its text: the size of a [`Value`] in its list or map.
const VALUE_BYTES: usize = 32;

/// The key whose map, or maps, are merged into the one that it stands in.
const MERGE: &str = "<<";

/// What reading has used so far, and what went wrong.
#[derive(Debug, Default)]
pub(super) struct Reading {
    used: Cell<usize>,
    fault: RefCell<Option<(ManifestProblem, String)>>,
}

impl Reading {
    /// What this reader itself objected to, if it did, rather than the parser below it.
    pub(super) fn fault(&self) -> Option<(ManifestProblem, String)> {
        self.fault.take()
    }

    fn refuse<E: de::Error>(&self, problem: ManifestProblem, message: String) -> E {
        let error = E::custom(&message);
        self.fault.replace(Some((problem, message)));
        error
    }

    fn charge<E: de::Error>(&self, bytes: usize) -> Result<(), E> {
        let used = self.used.get().saturating_add(bytes).saturating_add(VALUE_BYTES);
        self.used.set(used);
        if used > MAX_EXPANDED_BYTES {
            let message = format!("has more than {} MiB when aliases are followed", MAX_EXPANDED_BYTES >> 20);
            return Err(self.refuse(ManifestProblem::TooLarge, message));
        }
        Ok(())
    }
}

/// Reads one value. In YAML, `<<` merges maps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strict<'a> {
    reading: &'a Reading,
    yaml: bool,
    depth: usize,
}

impl<'a> Strict<'a> {
    pub(super) fn new(reading: &'a Reading, yaml: bool) -> Self {
        Self { reading, yaml, depth: 0 }
    }

    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            let message = format!("is more than {MAX_DEPTH} lists and maps deep");
            return Err(self.reading.refuse(ManifestProblem::TooLarge, message));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn syntax<E: de::Error>(self, message: impl Into<String>) -> E {
        self.reading.refuse(ManifestProblem::Syntax, message.into())
    }
}

impl<'de> de::DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> de::Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        self.reading.charge(0)?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        self.reading.charge(0)?;
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        self.reading.charge(0)?;
        Ok(value.into())
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Value, E> {
        Err(self.syntax(format!("the number {value} is too large")))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Value, E> {
        Err(self.syntax(format!("the number {value} is too large")))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        self.reading.charge(0)?;
        match Number::from_f64(value) {
            Some(number) => Ok(Value::Number(number)),
            None => Err(self.syntax(format!("{value} is not a number that a manifest can have"))),
        }
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.reading.charge(value.len())?;
        Ok(value.into())
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        self.reading.charge(value.len())?;
        Ok(value.into())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        self.reading.charge(0)?;
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.reading.charge(0)?;
        let item = self.deeper()?;
        let mut items = Vec::new();
        while let Some(value) = access.next_element_seed(item)? {
            items.push(value);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.reading.charge(0)?;
        let field = self.deeper()?;
        let (mut fields, mut merged) = (Map::new(), None);
        while let Some(key) = access.next_key_seed(Key(self, &fields, merged.is_some()))? {
            let value = access.next_value_seed(field)?;
            if self.yaml && key == MERGE {
                merged = Some(value);
            } else {
                fields.insert(key, value);
            }
        }
        match merged {
            None => {}
            Some(Value::Array(maps)) => maps.into_iter().try_for_each(|map| self.merge(&mut fields, map))?,
            Some(map) => self.merge(&mut fields, map)?,
        }
        Ok(Value::Object(fields))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(self.syntax("has a YAML tag (`!name`), which means nothing in a manifest"))
    }
}

impl Strict<'_> {
    fn merge<E: de::Error>(self, fields: &mut Map<String, Value>, map: Value) -> Result<(), E> {
        let Value::Object(map) = map else {
            return Err(self.syntax("`<<` merges maps, and this is none"));
        };
        for (key, value) in map {
            fields.entry(key).or_insert(value);
        }
        Ok(())
    }
}

/// Reads a key that is not yet among the fields, or merged. As in Kubernetes, numbers and booleans become text.
struct Key<'a>(Strict<'a>, &'a Map<String, Value>, bool);

impl<'de> de::DeserializeSeed<'de> for Key<'_> {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> de::Visitor<'de> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key that is text")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<String, E> {
        let Self(strict, fields, merged) = self;
        strict.reading.charge(key.len())?;
        if fields.contains_key(key) || (merged && key == MERGE) {
            return Err(strict.syntax(format!("the key `{key}` is there twice")));
        }
        Ok(key.to_owned())
    }

    fn visit_bool<E: de::Error>(self, key: bool) -> Result<String, E> {
        self.visit_str(&key.to_string())
    }

    fn visit_i64<E: de::Error>(self, key: i64) -> Result<String, E> {
        self.visit_str(&key.to_string())
    }

    fn visit_u64<E: de::Error>(self, key: u64) -> Result<String, E> {
        self.visit_str(&key.to_string())
    }
}
