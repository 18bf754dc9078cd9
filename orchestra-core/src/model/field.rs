//! What is wrong with a manifest, and where.

use std::fmt;

/// One thing that is wrong with an object, with the path to it.
///
/// Displays as `spec.template.spec.containers[0].resources.requests.cpu: must not be negative`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The path from the object's root, in manifest spelling: `spec.containers[0].name`.
    pub path: String,
    /// What is wrong with it and, where that helps, what would be right.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

impl std::error::Error for FieldError {}

/// Collects the [`FieldError`]s of one object while its fields are walked.
///
/// [`at`](Self::at) and [`index`](Self::index) step into a field for the length of a closure, so that a
/// check names only its own field.
///
/// ```
/// # use orchestra_core::model::FieldErrors;
/// let mut errors = FieldErrors::new();
/// errors.at("spec", |e| e.at("containers", |e| e.index(0, |e| e.at("name", |e| e.push("is required")))));
/// assert_eq!(errors.to_string(), "spec.containers[0].name: is required");
/// ```
#[derive(Clone, Debug, Default)]
pub struct FieldErrors {
    path: String,
    errors: Vec<FieldError>,
}

impl FieldErrors {
    /// No errors, at the object's root.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Walks into the field `name`.
    pub fn at<R>(&mut self, name: &str, check: impl FnOnce(&mut Self) -> R) -> R {
        let len = self.path.len();
        if len > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        let result = check(self);
        self.path.truncate(len);
        result
    }

    /// Walks into the item `index` of the list at the current path.
    pub fn index<R>(&mut self, index: usize, check: impl FnOnce(&mut Self) -> R) -> R {
        let len = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        let result = check(self);
        self.path.truncate(len);
        result
    }

    /// Walks into every item of a list.
    pub fn each<'a, T>(&mut self, name: &str, items: &'a [T], mut check: impl FnMut(&mut Self, &'a T)) {
        self.at(name, |e| {
            for (i, item) in items.iter().enumerate() {
                e.index(i, |e| check(e, item));
            }
        });
    }

    /// Records that the field at the current path is wrong.
    pub fn push(&mut self, message: impl Into<String>) {
        self.errors.push(FieldError { path: self.path.clone(), message: message.into() });
    }

    /// Records `message` unless `holds`.
    pub fn require(&mut self, holds: bool, message: &str) {
        if !holds {
            self.push(message);
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// What was found, in the order it was found.
    #[must_use]
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    /// `Ok` where nothing is wrong.
    ///
    /// # Errors
    /// The collected errors, where there are any.
    pub fn into_result(self) -> Result<(), Self> {
        if self.errors.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for FieldErrors {}
