//! Tests of the model as a whole.

mod bombs;
mod manifest_errors;
mod manifests;
