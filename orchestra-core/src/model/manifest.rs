//! The text of manifests: YAML or JSON.

use serde::de::DeserializeSeed;
use serde_json::Value;

use super::document::{Document, documents};
use super::locate::{json_line, yaml_line};
use super::strict::{Reading, Strict};
use super::{AnyObject, Decoded, ManifestError, ManifestProblem, Scheme, Warning};

/// How long a text of manifests may be, in bytes. A cluster's own manifests have some hundred kilobytes; the
/// largest single object that Kubernetes takes has one and a half megabytes.
pub const MAX_MANIFEST_BYTES: usize = 16 << 20;

/// The longest path that a message about the text itself shows, in bytes: longer ones are of bombs.
const MAX_PATH: usize = 200;

/// A manifest that was read from a text.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Manifest {
    /// The object. This is the only reference to it, so `Arc::get_mut` gives access.
    pub object: AnyObject,
    /// The manifest itself, as it was written: without defaults, aliases followed.
    pub value: Value,
    /// What is kept in it but not acted on.
    pub warnings: Vec<Warning>,
    /// Which document of the text it is, or is in, counted from one. Empty documents don't count.
    pub document: usize,
    /// The line that the document starts in, counted from one.
    pub line: usize,
}

/// Reads all manifests of a text: YAML of one or several documents, JSON, or JSON values one after the other.
///
/// Lists (`kind: List`) stand for their items; empty documents are skipped. A key that is there twice is
/// refused, as are YAML tags, and texts longer than [`MAX_MANIFEST_BYTES`] or deeper than 100 lists and maps.
/// YAML is version 1.2, so `yes` and `on` are text, with the merge key `<<` of 1.1.
///
/// ```
/// use orchestra_core::model::{Scheme, parse_manifests};
///
/// let text = "
/// apiVersion: v1
/// kind: ConfigMap
/// metadata: {name: settings}
/// data: {colour: blue}
/// ---
/// apiVersion: apps/v1
/// kind: Deployment
/// metadata: {name: web}
/// spec: {replicas: many}
/// ";
/// let error = parse_manifests(text, &Scheme::kubernetes()).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "document 2 (Deployment web): spec.replicas: invalid type: string \"many\", expected u32 (line 10)"
/// );
/// ```
///
/// # Errors
/// [`ManifestError`], for the first document that is wrong. It names the document, the line, the object and
/// the field.
pub fn parse_manifests(text: &str, scheme: &Scheme) -> Result<Vec<Manifest>, ManifestError> {
    if text.len() > MAX_MANIFEST_BYTES {
        let message = format!("the text is longer than {} MiB: split it", MAX_MANIFEST_BYTES >> 20);
        return Err(ManifestError::new(ManifestProblem::TooLarge, "", message));
    }
    let mut parser = Parser { scheme, reading: Reading::default(), document: 0, manifests: Vec::new() };
    for document in documents(text) {
        parser.read(document)?;
    }
    Ok(parser.manifests)
}

struct Parser<'a> {
    scheme: &'a Scheme,
    reading: Reading,
    document: usize,
    manifests: Vec<Manifest>,
}

/// Where a value came from, to find the line of one of its fields.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// In this document, the YAML document of that number (a document may end in `...` and go on).
    Yaml(Document<'a>, usize),
    /// At the start of this text, which starts in that line.
    Json(&'a str, usize),
}

impl Source<'_> {
    fn line_of(self, path: &str) -> Option<usize> {
        match self {
            Self::Yaml(document, number) => yaml_line(&document.padded(), number, path),
            Self::Json(text, line) => json_line(text, path).map(|l| l + line - 1),
        }
    }

    fn line(self) -> usize {
        match self {
            Self::Yaml(document, _) => document.line,
            Self::Json(_, line) => line,
        }
    }
}

impl Parser<'_> {
    fn read(&mut self, document: Document<'_>) -> Result<(), ManifestError> {
        let before = (self.manifests.len(), self.document);
        let Some(json) = document.json() else { return self.read_yaml(document) };
        let Err((error, may_be_yaml)) = self.read_json(document, json) else { return Ok(()) };
        if may_be_yaml && before == (self.manifests.len(), self.document - 1) {
            // YAML may start like JSON: `{kind: Pod, ...}`.
            self.document -= 1;
            let is_yaml = || serde_yaml_ng::from_str::<serde::de::IgnoredAny>(document.text).is_ok();
            if document.check_work().is_ok() && is_yaml() {
                return self.read_yaml(document);
            }
            self.document += 1;
        }
        Err(error)
    }

    /// Reads JSON values one after the other. With an error comes whether the text may be YAML instead.
    fn read_json(&mut self, document: Document<'_>, json: &str) -> Result<(), (ManifestError, bool)> {
        let skipped = document.text.len() - json.len();
        let mut line = document.line + newlines(&document.text[..skipped]);
        let mut rest = json;
        while !rest.is_empty() {
            self.document += 1;
            let mut stream = serde_json::Deserializer::from_str(rest);
            let mut track = serde_path_to_error::Track::new();
            let deserializer = serde_path_to_error::Deserializer::new(&mut stream, &mut track);
            let value = Strict::new(&self.reading, false).deserialize(deserializer).map_err(|error| {
                let at = line + error.line().max(1) - 1;
                let (problem, message) = self.reading.fault().unwrap_or_else(|| {
                    (
                        ManifestProblem::Syntax,
                        format!("is neither JSON nor YAML: {}", without_place(&error.to_string())),
                    )
                });
                let path = path_text(&track.path());
                (self.error(problem, &path, message, Some(at)), error.is_syntax() || error.is_eof())
            })?;
            // The end of the value: a stream over nothing but it tells how many bytes it took.
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<serde::de::IgnoredAny>();
            values.next();
            let end = values.byte_offset();
            self.take(value, Source::Json(rest, line), "").map_err(|e| (e, false))?;
            let next = rest[end..].trim_start();
            line += newlines(&rest[..rest.len() - next.len()]);
            rest = next;
        }
        Ok(())
    }

    fn read_yaml(&mut self, document: Document<'_>) -> Result<(), ManifestError> {
        if let Err(message) = document.check_work() {
            self.document += 1;
            return Err(self.error(ManifestProblem::TooLarge, "", message, Some(document.line)));
        }
        for (number, deserializer) in serde_yaml_ng::Deserializer::from_str(document.text).enumerate() {
            self.document += 1;
            let mut track = serde_path_to_error::Track::new();
            let deserializer = serde_path_to_error::Deserializer::new(deserializer, &mut track);
            match Strict::new(&self.reading, true).deserialize(deserializer) {
                Ok(Value::Null) => self.document -= 1,
                Ok(value) => self.take(value, Source::Yaml(document, number), "")?,
                Err(error) => {
                    let path = path_text(&track.path());
                    return Err(self.yaml_error(document, number, &path, &error));
                }
            }
        }
        Ok(())
    }

    fn yaml_error(
        &self,
        document: Document<'_>,
        number: usize,
        path: &str,
        error: &serde_yaml_ng::Error,
    ) -> ManifestError {
        let line = error.location().map(|l| l.line() + document.line - 1);
        if let Some((problem, message)) = self.reading.fault() {
            return self.error(problem, path, message, line);
        }
        // Once more, such that the places in the message are those of the whole text.
        let padded = document.padded();
        let again = serde_yaml_ng::Deserializer::from_str(&padded)
            .nth(number)
            .and_then(|d| Strict::new(&Reading::default(), true).deserialize(d).err());
        let message = again.as_ref().unwrap_or(error).to_string();
        if message.contains("repetition limit") || message.contains("recursion limit") {
            let message = "grows too much when its aliases are followed, or is too deep".to_owned();
            return self.error(ManifestProblem::TooLarge, "", message, line);
        }
        self.error(ManifestProblem::Syntax, "", format!("is not YAML: {message}"), line)
    }

    fn error(
        &self,
        problem: ManifestProblem,
        path: &str,
        message: impl Into<String>,
        line: Option<usize>,
    ) -> ManifestError {
        // serde_path_to_error writes `?` where it knows nothing; and of what is too deep the path is no help.
        let path = if path == "?" || path.len() > MAX_PATH { "" } else { path };
        ManifestError { document: Some(self.document), line, ..ManifestError::new(problem, path, message) }
    }

    /// Takes a value as a manifest, or as a list of them. `path` leads to it.
    fn take(&mut self, mut value: Value, source: Source<'_>, path: &str) -> Result<(), ManifestError> {
        if let Some(items) = list_items(&mut value, self.scheme) {
            for (index, item) in items.into_iter().enumerate() {
                let dot = if path.is_empty() { "" } else { "." };
                self.take(item, source, &format!("{path}{dot}items[{index}]"))?;
            }
            return Ok(());
        }
        match self.scheme.decode(value.clone()) {
            Ok(Decoded { object, warnings }) => {
                let (document, line) = (self.document, source.line());
                self.manifests.push(Manifest { object, value, warnings, document, line });
                Ok(())
            }
            Err(mut error) => {
                error.document = Some(self.document);
                error.line = source.line_of(&join(path, &error.error.path));
                error.error.path = join(path, &error.error.path);
                Err(error)
            }
        }
    }
}

/// The items of a list, with the kind that they need not name in a list of one kind.
fn list_items(value: &mut Value, scheme: &Scheme) -> Option<Vec<Value>> {
    let kind = value.get("kind")?.as_str()?.strip_suffix("List")?.to_owned();
    let api_version = value.get("apiVersion").cloned();
    let is_object = value["metadata"].get("name").is_some() || scheme.find(&format!("{kind}List")).is_some();
    if is_object || !value.get("items")?.is_array() {
        return None;
    }
    let Value::Array(mut items) = value["items"].take() else { return None };
    if !kind.is_empty() {
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            item.entry("kind").or_insert_with(|| kind.clone().into());
            if let Some(api_version) = &api_version {
                item.entry("apiVersion").or_insert_with(|| api_version.clone());
            }
        }
    }
    Some(items)
}

fn join(path: &str, field: &str) -> String {
    match (path, field) {
        ("", path) | (path, "") => path.to_owned(),
        (path, field) => format!("{path}.{field}"),
    }
}

/// A path as text; empty for the root.
fn path_text(path: &serde_path_to_error::Path) -> String {
    if path.iter().next().is_none() { String::new() } else { path.to_string() }
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|b| *b == b'\n').count()
}

/// serde_json's message without its own line and column.
fn without_place(message: &str) -> &str {
    message.rfind(" at line ").map_or(message, |at| &message[..at])
}
