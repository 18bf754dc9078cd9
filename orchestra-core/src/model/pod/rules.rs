//! What a pod leaves out, and what it must and must not be: also for the templates of other kinds.

use super::PodSpec;
use crate::model::FieldErrors;

/// Fills in what `spec` left out. Of an admitted spec nothing changes, and it is then not copied.
pub(crate) fn default_pod_spec(_spec: &mut PodSpec) {}

/// Checks `spec` of a pod or a template, at the current path.
pub(crate) fn validate_pod_spec(_spec: &PodSpec, _errors: &mut FieldErrors) {}
