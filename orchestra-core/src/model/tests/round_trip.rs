//! What is read is written back, whatever of it is modelled.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value, json};

use crate::model::{Decoded, FieldErrors, Scheme, Warning, parse_manifests};

fn full() -> &'static [Value] {
    static FULL: LazyLock<Vec<Value>> = LazyLock::new(|| {
        let manifests = parse_manifests(include_str!("full.yaml"), &Scheme::kubernetes()).unwrap();
        manifests.into_iter().map(|m| m.value).collect()
    });
    &FULL
}

/// Maps whose keys are the user's, not fields.
const DATA: &[&str] = &[
    "labels",
    "annotations",
    "data",
    "stringData",
    "binaryData",
    "matchLabels",
    "requests",
    "limits",
    "capacity",
    "parameters",
    "disruptedPods",
];

/// The JSON pointers of all maps of fields in `value`, with their paths as warnings spell them.
fn structs(value: &Value, at: (String, String), name: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            let labels =
                name == "selector" && at.1 == "spec.selector" && fields.values().all(Value::is_string);
            if DATA.contains(&name) || labels {
                return;
            }
            for (key, value) in fields {
                let dot = if at.1.is_empty() { "" } else { "." };
                let next = (format!("{}/{key}", at.0), format!("{}{dot}{key}", at.1));
                structs(value, next, key, found);
            }
            found.push(at);
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                structs(item, (format!("{}/{i}", at.0), format!("{}[{i}]", at.1)), "", found);
            }
        }
        _ => {}
    }
}

/// What the unknown fields of the tests start with, and no modelled one does.
const UNKNOWN: char = 'x';

fn is_hollow(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| fields.values().all(is_hollow))
}

/// What of `part` is not in `whole`: the pointer to it.
fn missing(part: &Value, whole: &Value, at: &str) -> Option<String> {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => part.iter().find_map(|(key, value)| {
            let at = format!("{at}/{key}");
            match whole.get(key) {
                Some(other) => missing(value, other, &at),
                // A struct of which nothing is set need not be written.
                None => (!is_hollow(value) || key.starts_with(UNKNOWN)).then_some(at),
            }
        }),
        (Value::Array(part), Value::Array(whole)) if part.len() == whole.len() => part
            .iter()
            .zip(whole)
            .enumerate()
            .find_map(|(i, (value, other))| missing(value, other, &format!("{at}/{i}"))),
        (part, whole) => (part != whole).then(|| format!("{at}: {part} became {whole}")),
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,5}", inner, 0..3)
                .prop_map(|m| Value::Object(m.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// The warnings of unmodelled fields: those without the ones of fields that are modelled and have no effect.
fn unmodelled(decoded: &Decoded) -> Vec<String> {
    let mut modelled = FieldErrors::new();
    decoded.object.without_effect(&mut modelled);
    let is_modelled = |warning: &&Warning| modelled.errors().iter().any(|field| field.path == warning.path);
    let warnings = decoded.warnings.iter().filter(|warning| !is_modelled(warning));
    warnings.map(ToString::to_string).collect()
}

#[test]
fn every_modelled_field_is_written_back_without_a_warning() {
    let scheme = Scheme::kubernetes();
    for manifest in full() {
        let decoded = scheme.decode(manifest.clone()).unwrap();
        let written = decoded.object.to_value();
        assert_eq!(missing(manifest, &written, ""), None, "{written:#}");
        if manifest["kind"] != "Widget" {
            assert_eq!(unmodelled(&decoded), Vec::<String>::new());
        }
        // And what is written is read as the same object, also by the short way.
        let stored = scheme.decode_stored(written.clone()).unwrap();
        let from_text = scheme.decode_stored_json(&serde_json::to_vec(&written).unwrap()).unwrap();
        for stored in [stored, from_text] {
            assert_eq!(stored.to_value(), written);
            assert!(stored.same_desired(&*decoded.object) && stored.same_status(&*decoded.object));
        }
    }
}

#[test]
fn every_kind_has_a_full_manifest() {
    let kinds: Vec<_> = full().iter().map(|m| m["kind"].as_str().unwrap().to_owned()).collect();
    let scheme = Scheme::kubernetes();
    for info in scheme.kinds().filter(|info| scheme.is_modelled(info)) {
        // Pods and nodes have their own tests.
        let elsewhere = ["Pod", "Node"].contains(&info.kind.as_ref());
        assert!(elsewhere || kinds.iter().any(|k| *k == info.kind), "{}", info.kind);
    }
}

#[test]
fn an_unknown_field_is_kept_and_named_in_every_struct() {
    let scheme = Scheme::kubernetes();
    for manifest in full() {
        let before = scheme.decode(manifest.clone()).unwrap().object;
        let mut places = Vec::new();
        structs(manifest, Default::default(), "", &mut places);
        for (pointer, path) in places {
            let mut changed = manifest.clone();
            changed.pointer_mut(&pointer).unwrap()["oddField"] = json!({"x": [1, "y"]});
            let decoded = scheme.decode(changed.clone()).unwrap();
            assert_eq!(missing(&changed, &decoded.object.to_value(), ""), None, "{path}");
            let after = &decoded.object;
            let same =
                after.same_desired(&*before) && after.same_status(&*before) && after.meta() == before.meta();
            assert!(!same, "{}: {path}: an update would be taken for none", manifest["kind"]);
            if manifest["kind"] != "Widget" {
                let dot = if path.is_empty() { "" } else { "." };
                let expected = format!("{path}{dot}oddField: kept, but Orchestra does not act on it");
                assert_eq!(unmodelled(&decoded), [expected]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Fields of any name and value, at any places together, and any fields left out.
    #[test]
    fn any_fields_survive(
        which in any::<Index>(),
        added in prop::collection::vec((any::<Index>(), "x[a-z]{1,6}", any_json()), 0..4),
        dropped in prop::collection::vec((any::<Index>(), any::<Index>()), 0..4),
    ) {
        let mut manifest = which.get(full()).clone();
        let mut places = Vec::new();
        structs(&manifest, Default::default(), "", &mut places);
        for (place, key, value) in added {
            manifest.pointer_mut(&place.get(&places).0).unwrap()[key] = value;
        }
        for (place, field) in dropped {
            let Some(fields) = manifest.pointer_mut(&place.get(&places).0).and_then(Value::as_object_mut) else { continue };
            let keys: Vec<_> = fields.keys().filter(|k| !["apiVersion", "kind"].contains(&k.as_str())).cloned().collect();
            if !keys.is_empty() {
                fields.remove(field.get(&keys));
            }
        }
        match Scheme::kubernetes().decode(manifest.clone()) {
            Ok(decoded) => prop_assert_eq!(missing(&manifest, &decoded.object.to_value(), ""), None),
            // Some fields can't be left out.
            Err(error) => prop_assert_eq!(error.error.message, "is required"),
        }
    }
}
