//! Runs further programs in a container.
use std::sync::Arc;

use orchestra_core::runtime::{ExecOptions, ExecSession, RuntimeError};

use crate::state::{Container, Core};

pub(crate) fn exec(
    _: &Arc<Core>,
    container: &Arc<Container>,
    _: &ExecOptions,
) -> Result<ExecSession, RuntimeError> {
    Err(crate::error::unsupported(container.id(), "exec is not there yet"))
}
