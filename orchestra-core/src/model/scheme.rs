//! Which kinds there are, and how their manifests are read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::kinds::{MODELLED_SHORT_NAMES, UNMODELLED, guess_plural};
use super::{
    AnyObject, ConfigMap, Deployment, EndpointSlice, Event, HTTPRoute, HorizontalPodAutoscaler, Ingress,
    KindInfo, Lease, ManifestError, ManifestProblem, Namespace, Node, Object, PersistentVolume,
    PersistentVolumeClaim, Pod, PodDisruptionBudget, PodGroup, PriorityClass, ReplicaSet, Resource, Secret,
    Service, StorageClass, Warning, decode,
};

/// The kinds that a cluster knows, and how to read their manifests.
///
/// [`Scheme::kubernetes`] has the modelled ones; an application adds its own with
/// [`register`](Self::register). A manifest of any other kind is read as [`Unstructured`](super::Unstructured),
/// and taken to have namespaces where neither [`register_kind`](Self::register_kind) nor, for a client, a
/// CustomResourceDefinition in the store says that it has none.
#[derive(Clone, Debug, Default)]
pub struct Scheme {
    kinds: Vec<Entry>,
    /// By everything that a kind may be called, in lower case.
    by_name: BTreeMap<String, usize>,
}

#[derive(Clone, Debug)]
struct Entry {
    info: KindInfo,
    /// `None`: the kind is known by name only.
    decoder: Option<Decoder>,
}

#[derive(Clone, Copy, Debug)]
struct Decoder {
    checked: fn(Value) -> Result<Decoded, ManifestError>,
    stored: fn(&[u8]) -> Result<AnyObject, serde_json::Error>,
}

/// What says how the rest of a manifest is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

/// An object read from its manifest.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The object. This is the only reference to it, so `Arc::get_mut` gives access.
    pub object: AnyObject,
    /// What is kept in it but not acted on.
    pub warnings: Vec<Warning>,
}

impl Scheme {
    /// A scheme without kinds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every kind that Orchestra models, and the names of the usual ones that it doesn't.
    #[must_use]
    pub fn kubernetes() -> Self {
        let mut scheme = Self::new();
        scheme.register::<Pod>();
        scheme.register::<Service>();
        scheme.register::<Deployment>();
        scheme.register::<ReplicaSet>();
        scheme.register::<ConfigMap>();
        scheme.register::<Secret>();
        scheme.register::<Namespace>();
        scheme.register::<Node>();
        scheme.register::<HorizontalPodAutoscaler>();
        scheme.register::<PodDisruptionBudget>();
        scheme.register::<PriorityClass>();
        scheme.register::<PodGroup>();
        scheme.register::<PersistentVolumeClaim>();
        scheme.register::<PersistentVolume>();
        scheme.register::<StorageClass>();
        scheme.register::<EndpointSlice>();
        scheme.register::<Ingress>();
        scheme.register::<HTTPRoute>();
        scheme.register::<Event>();
        scheme.register::<Lease>();
        for (kind, short) in MODELLED_SHORT_NAMES {
            scheme.add_name(short, kind);
        }
        for (info, short) in UNMODELLED {
            scheme.register_kind(info.clone());
            for name in *short {
                scheme.add_name(name, &info.kind);
            }
        }
        scheme
    }

    /// Adds the kind `T`. It takes the place of one of the same `apiVersion` and kind.
    pub fn register<T: Resource>(&mut self) {
        let decoder = Decoder { checked: decode::checked::<T>, stored: decode::stored::<T> };
        self.add(Entry { info: T::INFO, decoder: Some(decoder) });
    }

    /// Adds a kind whose objects stay [`Unstructured`](super::Unstructured), so that its plural and scope need not be guessed.
    pub fn register_kind(&mut self, info: KindInfo) {
        self.add(Entry { info, decoder: None });
    }

    fn add(&mut self, entry: Entry) {
        let info = entry.info.clone();
        let same = |e: &Entry| e.info.kind == info.kind && is_version(&e.info, &info.api_version());
        if let Some(index) = self.kinds.iter().position(same) {
            self.kinds[index] = entry;
            return;
        }
        let index = self.kinds.len();
        self.kinds.push(entry);
        let (kind, plural) = (info.kind.to_lowercase(), info.plural.to_lowercase());
        for name in [kind, plural] {
            if !info.group.is_empty() {
                self.by_name.entry(format!("{name}.{}", info.group)).or_insert(index);
            }
            // Of two kinds of one name the first keeps it; the other is reached with its group.
            self.by_name.entry(name).or_insert(index);
        }
    }

    fn add_name(&mut self, short: &str, kind: &str) {
        if let Some(&index) = self.by_name.get(&kind.to_lowercase()) {
            self.by_name.entry(short.to_owned()).or_insert(index);
        }
    }

    /// The kind that is called `name`: by kind, singular, plural or kubectl's short name, in any case, with or
    /// without its group (`deploy`, `Deployment`, `deployments`, `deployments.apps`).
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&KindInfo> {
        self.by_name.get(&name.to_lowercase()).map(|&index| &self.kinds[index].info)
    }

    /// Every kind, in the order of registration.
    pub fn kinds(&self) -> impl Iterator<Item = &KindInfo> {
        self.kinds.iter().map(|e| &e.info)
    }

    /// Whether objects of this kind are read into a struct of their own.
    #[must_use]
    pub fn is_modelled(&self, info: &KindInfo) -> bool {
        self.entry(&info.api_version(), &info.kind).is_some_and(|e| e.decoder.is_some())
    }

    fn entry(&self, api_version: &str, kind: &str) -> Option<&Entry> {
        // A search over some forty entries needs no allocated key, and the usual kinds come first.
        self.kinds.iter().find(|e| e.info.kind == kind && is_version(&e.info, api_version))
    }

    /// Reads a manifest. A `null` means that the field isn't there.
    ///
    /// # Errors
    /// [`ManifestError`] with the path to the field that is wrong.
    pub fn decode(&self, mut manifest: Value) -> Result<Decoded, ManifestError> {
        let (api_version, kind, name) = decode::identity(&manifest)?;
        let decoder = match self.entry(&api_version, &kind) {
            Some(Entry { decoder: Some(decoder), .. }) => decoder,
            Some(Entry { info, decoder: None }) => return Self::decode_as(manifest, info.clone()),
            None => return self.decode_unknown(manifest, &api_version, &kind, &name),
        };
        decode::drop_nulls(&mut manifest);
        (decoder.checked)(manifest).map_err(|e| e.about(&kind, &name))
    }

    /// Reads a manifest of a kind of which it is known from elsewhere that it is the unmodelled one of `info`.
    pub(crate) fn decode_as(manifest: Value, info: KindInfo) -> Result<Decoded, ManifestError> {
        let (_, kind, name) = decode::identity(&manifest)?;
        let object = decode::unstructured(manifest, info).map_err(|e| e.about(&kind, &name))?;
        let message = format!("kept, but Orchestra does not act on objects of kind {kind}");
        Ok(Decoded { object, warnings: vec![Warning { path: String::new(), message }] })
    }

    /// Reads the changed manifest of `live`. Of a kind that nobody registered it has the scope of `live`.
    pub(crate) fn decode_changed(
        &self,
        manifest: Value,
        live: &dyn Object,
    ) -> Result<Decoded, ManifestError> {
        let info = live.info();
        match self.entry(&info.api_version(), &info.kind) {
            Some(_) => self.decode(manifest),
            None => Self::decode_as(manifest, info.clone()),
        }
    }

    /// Whether manifests of this `apiVersion` and kind are of a kind that was registered.
    pub(crate) fn is_registered(&self, api_version: &str, kind: &str) -> bool {
        self.entry(api_version, kind).is_some()
    }

    fn decode_unknown(
        &self,
        manifest: Value,
        api_version: &str,
        kind: &str,
        name: &str,
    ) -> Result<Decoded, ManifestError> {
        let mut message = format!(
            "kept, but Orchestra does not know the kind {kind} of {api_version} and takes it to have namespaces"
        );
        if let Some(entry) = self.kinds.iter().find(|e| e.info.kind == kind && e.decoder.is_some()) {
            let known = entry.info.api_version();
            let group = api_version.split_once('/').map_or("", |(group, _)| group);
            // A kind of the same name in a group of somebody else's is another kind. In one of ours it is a
            // mistake, or a version that would be stored beside ours under the same key.
            if self.kinds.iter().any(|e| e.info.group == group) {
                let error = format!("is {api_version}, but {kind} is read as {known} only: write that");
                return Err(ManifestError::new(ManifestProblem::Kind, "apiVersion", error).about(kind, name));
            }
            message = format!("{message}; it knows the {kind} of {known}");
        }
        let info = guess(api_version, kind, true);
        let object = decode::unstructured(manifest, info).map_err(|e| e.about(kind, name))?;
        Ok(Decoded { object, warnings: vec![Warning { path: String::new(), message }] })
    }

    /// Reads an object that was accepted before, such as one from a store: without warnings, and without the
    /// path where that fails.
    ///
    /// # Errors
    /// [`ManifestError`], where it is not an object of its kind.
    pub fn decode_stored(&self, object: Value) -> Result<AnyObject, ManifestError> {
        let (api_version, kind) = (text_at(&object, "/apiVersion"), text_at(&object, "/kind"));
        if let Some(Entry { decoder: Some(decoder), .. }) = self.entry(api_version, kind) {
            return (decoder.stored)(object.to_string().as_bytes()).map_err(|e| {
                let message = e.to_string();
                // Where it was in the text that was just written says nothing to anybody.
                let message = message.rsplit_once(" at line ").map_or(&*message, |(what, _)| what);
                ManifestError::new(ManifestProblem::Field, "", message).about(kind, "")
            });
        }
        let (api_version, kind, name) = decode::identity(&object)?;
        let info = match self.entry(&api_version, &kind) {
            Some(entry) => entry.info.clone(),
            // What has namespaces was given one when it was stored.
            None => guess(&api_version, &kind, !text_at(&object, "/metadata/namespace").is_empty()),
        };
        decode::unstructured(object, info).map_err(|e| e.about(&kind, &name))
    }

    /// The same as [`decode_stored`](Self::decode_stored) of the JSON text `object`, in about half the time: a modelled
    /// kind is read without a [`Value`] between.
    ///
    /// # Errors
    /// [`ManifestError`], where it is not JSON, or not an object of its kind.
    pub fn decode_stored_json(&self, object: &[u8]) -> Result<AnyObject, ManifestError> {
        if let Ok(Head { api_version, kind }) = serde_json::from_slice(object)
            && let Some(Entry { decoder: Some(decoder), .. }) = self.entry(&api_version, &kind)
            && let Ok(object) = (decoder.stored)(object)
        {
            return Ok(object);
        }
        // Kinds that aren't modelled; and texts that name a field twice, of which the last counts.
        let value = serde_json::from_slice(object)
            .map_err(|e| ManifestError::new(ManifestProblem::Field, "", e.to_string()))?;
        self.decode_stored(value)
    }
}

/// Whether `api_version` is that of `info`.
fn is_version(info: &KindInfo, api_version: &str) -> bool {
    match api_version.split_once('/') {
        Some((group, version)) => info.group == group && info.version == version,
        None => info.group.is_empty() && info.version == api_version,
    }
}

/// The text at `path`, a JSON pointer; empty where there is none.
fn text_at<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// A kind that nobody registered.
fn guess(api_version: &str, kind: &str, namespaced: bool) -> KindInfo {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    KindInfo {
        group: group.to_owned().into(),
        version: version.to_owned().into(),
        kind: kind.to_owned().into(),
        plural: guess_plural(kind).into(),
        namespaced,
    }
}
