//! Tests of the model as a whole.

mod bombs;
mod manifest_errors;
mod manifests;
mod round_trip;
mod rules;
mod scheme;
