//! What is wrong with the text of a manifest, and what is merely not acted on.

use std::fmt;

use super::FieldError;

/// A manifest that can't be read. Nothing of the text it came in is stored.
///
/// Displays as `document 2 (Deployment web): spec.replicas: invalid type: string "two", expected u32 (line 31)`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManifestError {
    /// What kind of trouble it is.
    pub problem: ManifestProblem,
    /// Which document of the text, counted from one, where the text is known.
    pub document: Option<usize>,
    /// Which line of the text, counted from one, where known.
    pub line: Option<usize>,
    /// Kind and name of the object, as far as they could be read: `Deployment web`.
    pub subject: String,
    /// The field and what is wrong with it.
    pub error: FieldError,
}

/// What kind of trouble a [`ManifestError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ManifestProblem {
    /// The text is neither YAML nor JSON, or says something twice.
    Syntax,
    /// The text is too large, too deep, or grows too much when its aliases are followed.
    TooLarge,
    /// It is not an object, or does not say properly of which kind.
    Kind,
    /// A field is not of its type.
    Field,
}

impl ManifestError {
    pub(super) fn new(problem: ManifestProblem, path: impl Into<String>, message: impl Into<String>) -> Self {
        let error = FieldError { path: path.into(), message: message.into() };
        Self { problem, document: None, line: None, subject: String::new(), error }
    }

    pub(super) fn about(mut self, kind: &str, name: &str) -> Self {
        self.subject = if name.is_empty() { kind.to_owned() } else { format!("{kind} {name}") };
        self
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.document, self.subject.as_str()) {
            (Some(document), "") => write!(f, "document {document}: ")?,
            (Some(document), subject) => write!(f, "document {document} ({subject}): ")?,
            (None, "") => {}
            (None, subject) => write!(f, "{subject}: ")?,
        }
        write!(f, "{}", self.error)?;
        match self.line {
            Some(line) => write!(f, " (line {line})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ManifestError {}

/// Something in a manifest that is kept but has no effect.
///
/// Displays as `spec.template.spec.dnsConfig: kept, but Orchestra does not act on it`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Warning {
    /// The path from the object's root; empty where it is about the whole object.
    pub path: String,
    /// What to know.
    pub message: String,
}

/// What there is to know of most of it.
pub(crate) const WITHOUT_EFFECT: &str = "kept, but Orchestra does not act on it";

impl Warning {
    pub(super) fn unmodelled(path: String) -> Self {
        Self { path, message: WITHOUT_EFFECT.to_owned() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}
