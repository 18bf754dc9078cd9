//! Merging JSON manifests: three-way for apply, and the three kinds of patches.
//!
//! Kubernetes merges some lists item by item: its types say by which field. [`merge_keys`] is that knowledge,
//! by the name of the list.

use serde_json::{Map, Value};

/// By which fields the items of a list are the same item. Empty: the list is replaced as a whole.
///
/// Ports have two fields: the same port in TCP and UDP are two items.
fn merge_keys(list: &str, items: &[Value]) -> &'static [&'static str] {
    match list {
        "containers" | "initContainers" | "ephemeralContainers" | "volumes" | "env" | "imagePullSecrets" => {
            &["name"]
        }
        "volumeMounts" => &["mountPath"],
        "ports" if items.iter().any(|p| p.get("containerPort").is_some()) => &["containerPort", "protocol"],
        "ports" if items.iter().any(|p| p.get("port").is_some()) => &["port", "protocol"],
        "ownerReferences" => &["uid"],
        "conditions" => &["type"],
        "hostAliases" => &["ip"],
        "topologySpreadConstraints" => &["topologyKey", "whenUnsatisfiable"],
        _ => &[],
    }
}

/// Whether the list of this name is a set of texts, to which each may add: Kubernetes merges it text by text.
fn is_set(name: &str) -> bool {
    name == "finalizers"
}

/// The set `live` without what only `last` had, and with what is `new`.
fn merge_sets(last: &[Value], new: &[Value], live: &[Value]) -> Vec<Value> {
    let stays = |item: &&Value| new.contains(item) || !last.contains(item);
    let added = new.iter().filter(|item| !live.contains(item));
    live.iter().filter(stays).chain(added).cloned().collect()
}

/// The identity of a list item: the values of its merge keys, a missing protocol being TCP.
fn identity<'v>(item: &'v Value, keys: &[&str]) -> Vec<Option<&'v Value>> {
    static TCP: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| Value::from("TCP"));
    keys.iter().map(|key| item.get(key).or((*key == "protocol").then(|| &*TCP))).collect()
}

fn list_keys(name: &str, lists: [&[Value]; 2]) -> &'static [&'static str] {
    lists.into_iter().map(|list| merge_keys(name, list)).find(|keys| !keys.is_empty()).unwrap_or(&[])
}

/// Whether of an object with this name only those fields stay that the manifest names: its type decides which it may
/// have. Kubernetes' `retainKeys`.
fn retains_keys(name: &str) -> bool {
    matches!(name, "strategy" | "volumes")
}

/// What comes of `live` when a manifest `last`, applied before, is replaced by `new`.
///
/// What `new` says holds; what `last` said and `new` does not is taken out; all else stays as it is in `live`.
pub(super) fn three_way(last: &Value, new: &Value, live: &Value) -> Value {
    merge_field("", last, new, live)
}

fn merge_field(name: &str, last: &Value, new: &Value, live: &Value) -> Value {
    match (new, live) {
        (Value::Object(new), Value::Object(live)) => {
            Value::Object(merge_objects(name, last.as_object(), new, live))
        }
        (Value::Array(new), Value::Array(live)) => {
            let last = last.as_array().map_or(&[][..], Vec::as_slice);
            if is_set(name) {
                return Value::Array(merge_sets(last, new, live));
            }
            let keys = list_keys(name, [new, live]);
            if keys.is_empty() {
                return Value::Array(new.clone());
            }
            merge_lists(name, keys, last, new, live)
        }
        _ => new.clone(),
    }
}

fn merge_objects(
    name: &str,
    last: Option<&Map<String, Value>>,
    new: &Map<String, Value>,
    live: &Map<String, Value>,
) -> Map<String, Value> {
    let before = |key: &str| last.and_then(|last| last.get(key));
    let stays = |key: &str| !retains_keys(name) && before(key).is_none() && !new.contains_key(key);
    let kept = live.iter().filter(|(key, _)| stays(key));
    let mut merged: Map<String, Value> = kept.map(|(k, v)| (k.clone(), v.clone())).collect();
    // What others added to a set stays, also where the manifest has none any more.
    for (key, others) in live.iter().filter(|(key, _)| is_set(key) && !stays(key) && !new.contains_key(*key))
    {
        let rest = merge_field(key, before(key).unwrap_or(&Value::Null), &Value::Array(Vec::new()), others);
        if rest.as_array().is_some_and(|rest| !rest.is_empty()) {
            merged.insert(key.clone(), rest);
        }
    }
    for (key, value) in new {
        if value.is_null() {
            continue;
        }
        let value = match live.get(key) {
            Some(live) => merge_field(key, before(key).unwrap_or(&Value::Null), value, live),
            None => value.clone(),
        };
        merged.insert(key.clone(), value);
    }
    merged
}

fn merge_lists(name: &str, keys: &[&str], last: &[Value], new: &[Value], live: &[Value]) -> Value {
    let find = |list: &'_ [Value], item: &Value| {
        let wanted = identity(item, keys);
        list.iter().position(|other| identity(other, keys) == wanted)
    };
    // The order of the manifest, then what others added, in its order.
    let mut merged: Vec<Value> = new
        .iter()
        .map(|item| match find(live, item) {
            Some(i) => {
                let last = find(last, item).map_or(&Value::Null, |i| &last[i]);
                merge_field(name, last, item, &live[i])
            }
            None => item.clone(),
        })
        .collect();
    let added = live.iter().filter(|item| find(new, item).is_none() && find(last, item).is_none());
    merged.extend(added.cloned());
    Value::Array(merged)
}

/// Applies a JSON merge patch, RFC 7386.
pub(super) fn merge_patch(value: &mut Value, patch: &Value) -> Result<(), String> {
    if !patch.is_object() {
        return Err("a merge patch is an object".to_owned());
    }
    json_patch::merge(value, patch);
    Ok(())
}

/// Applies a JSON patch, RFC 6902: all of its operations, or none.
pub(super) fn json_patch(value: &mut Value, patch: &Value) -> Result<(), String> {
    let patch: json_patch::Patch = serde_json::from_value(patch.clone()).map_err(|e| e.to_string())?;
    json_patch::patch(value, &patch).map_err(|e| e.to_string())
}

/// Applies a strategic merge patch, with its directives `$patch`, `$retainKeys` and `$deleteFromPrimitiveList`.
pub(super) fn strategic_patch(value: &mut Value, patch: &Value) -> Result<(), String> {
    let Value::Object(patch) = patch else {
        return Err("a strategic merge patch is an object".to_owned());
    };
    strategic_object(value, patch);
    Ok(())
}

fn strategic_object(value: &mut Value, patch: &Map<String, Value>) {
    if patch.get("$patch").and_then(Value::as_str) == Some("replace") {
        *value = Value::Object(
            patch.iter().filter(|(k, _)| *k != "$patch").map(|(k, v)| (k.clone(), v.clone())).collect(),
        );
        return;
    }
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(fields) = value else { return };
    if let Some(kept) = patch.get("$retainKeys").and_then(Value::as_array) {
        fields.retain(|key, _| kept.iter().any(|k| k.as_str() == Some(key)));
    }
    for (key, gone) in patch {
        let list = key.strip_prefix("$deleteFromPrimitiveList/").and_then(|name| fields.get_mut(name));
        if let (Some(Value::Array(list)), Some(gone)) = (list, gone.as_array()) {
            list.retain(|item| !gone.contains(item));
        }
    }
    // What else begins with `$` is about the order of lists.
    for (key, change) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        match change {
            Value::Null => {
                fields.remove(key);
            }
            Value::Object(change) if change.get("$patch").and_then(Value::as_str) == Some("delete") => {
                fields.remove(key);
            }
            Value::Object(change) => {
                strategic_object(fields.entry(key.as_str()).or_insert(Value::Null), change)
            }
            Value::Array(change) => {
                strategic_list(key, fields.entry(key.as_str()).or_insert(Value::Null), change)
            }
            other => {
                fields.insert(key.clone(), other.clone());
            }
        }
    }
}

fn strategic_list(name: &str, value: &mut Value, patch: &[Value]) {
    let directive = |item: &Value| item.get("$patch").and_then(Value::as_str).map(str::to_owned);
    let live = value.as_array().cloned().unwrap_or_default();
    let keys = list_keys(name, [patch, &live]);
    let replace = patch.iter().any(|item| directive(item).as_deref() == Some("replace"));
    let plain =
        |items: &[Value]| items.iter().filter(|i| directive(i).is_none()).cloned().collect::<Vec<_>>();
    if is_set(name) && !replace {
        *value = Value::Array(merge_sets(&[], patch, &live));
        return;
    }
    if keys.is_empty() || replace {
        *value = Value::Array(plain(patch));
        return;
    }
    let mut merged = live;
    for item in patch {
        let wanted = identity(item, keys);
        let found = merged.iter().position(|other| identity(other, keys) == wanted);
        match (found, directive(item).as_deref()) {
            (Some(i), Some("delete")) => drop(merged.remove(i)),
            (Some(i), _) => {
                if let Value::Object(change) = item {
                    strategic_object(&mut merged[i], change);
                }
            }
            (None, Some(_)) => {}
            (None, None) => merged.push(item.clone()),
        }
    }
    *value = Value::Array(merged);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn apply_sets_what_is_new_takes_back_what_is_left_out_and_keeps_what_others_set() {
        let last =
            json!({"spec": {"replicas": 2, "paused": true, "containers": [{"name": "a"}, {"name": "b"}]}});
        let new = json!({"spec": {"containers": [{"name": "a", "image": "i:2"}]}});
        let live = json!({"spec": {"replicas": 5, "paused": true, "extra": 1, "containers":
            [{"name": "a", "image": "i:1", "stdin": true}, {"name": "b"}, {"name": "injected"}]}});
        let merged = three_way(&last, &new, &live);
        let expected = json!({"spec": {"extra": 1, "containers":
            [{"name": "a", "image": "i:2", "stdin": true}, {"name": "injected"}]}});
        assert_eq!(merged, expected);
        let scaled = three_way(&json!({"spec": {}}), &json!({"spec": {}}), &json!({"spec": {"replicas": 5}}));
        assert_eq!(scaled, json!({"spec": {"replicas": 5}}), "what the autoscaler set stays");
    }

    #[test]
    fn finalizers_of_others_stay_whatever_the_manifest_lists() {
        let with = |names: &[&str]| json!({"metadata": {"finalizers": names}});
        let live = with(&["others", "mine"]);
        assert_eq!(three_way(&Value::Null, &with(&["mine"]), &live), live);
        assert_eq!(three_way(&with(&["mine"]), &with(&["new"]), &live), with(&["others", "new"]));
        let without = json!({"metadata": {}});
        assert_eq!(three_way(&with(&["mine"]), &without, &live), with(&["others"]));
        assert_eq!(three_way(&with(&["mine"]), &without, &with(&["mine"])), without);
        assert_eq!(three_way(&without, &without, &live), live);
        let mut patched = live;
        strategic_patch(&mut patched, &with(&["new"])).unwrap();
        assert_eq!(patched, with(&["others", "mine", "new"]));
    }

    #[test]
    fn where_a_type_decides_over_fields_those_of_the_old_type_go() {
        let live = json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
            "volumes": [{"name": "v", "emptyDir": {}}]});
        let new =
            json!({"strategy": {"type": "Recreate"}, "volumes": [{"name": "v", "configMap": {"name": "c"}}]});
        assert_eq!(three_way(&Value::Null, &new, &live), new);
        let patch = json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}, "volumes": [
            {"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]});
        let mut patched = live;
        strategic_patch(&mut patched, &patch).unwrap();
        assert_eq!(patched, new);
        let mut value = json!({"finalizers": ["a", "b"]});
        strategic_patch(&mut value, &json!({"$deleteFromPrimitiveList/finalizers": ["a"]})).unwrap();
        assert_eq!(value, json!({"finalizers": ["b"]}));
    }

    #[test]
    fn one_port_in_two_protocols_is_two_items() {
        let new = json!({"ports": [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]});
        let live = json!({"ports": [{"port": 53, "protocol": "UDP", "nodePort": 1}]});
        let merged = three_way(&Value::Null, &new, &live);
        let expected = json!({"ports":
            [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP", "nodePort": 1}]});
        assert_eq!(merged, expected);
    }

    #[test]
    fn strategic_patches_merge_lists_by_key_and_obey_directives() {
        let mut value = json!({"containers": [{"name": "a", "image": "i:1", "args": ["x"]}, {"name": "b"}], "n": {"k": 1}});
        let patch = json!({"containers": [{"name": "a", "image": "i:2", "args": ["y"]},
            {"name": "b", "$patch": "delete"}, {"name": "c"}], "n": {"$patch": "replace", "z": 2}});
        strategic_patch(&mut value, &patch).unwrap();
        let expected = json!({"containers": [{"name": "a", "image": "i:2", "args": ["y"]}, {"name": "c"}], "n": {"z": 2}});
        assert_eq!(value, expected);
    }

    #[test]
    fn a_patch_that_does_not_fit_says_so() {
        let mut value = json!({"a": 1});
        let missing = json!([{"op": "remove", "path": "/b"}]);
        assert!(json_patch(&mut value, &missing).is_err());
        assert!(merge_patch(&mut value, &json!([])).is_err());
        assert_eq!(value, json!({"a": 1}));
    }
}
