//! What containers write.
//!
//! A container's output goes straight into two files, the *spools*, so that it neither blocks nor is lost while
//! nobody reads it. The runtime moves it from there into log files, line by line with a time stamp, in the format
//! of Kubernetes' container runtimes; log files are rotated, and what was moved is cut out of the spools.

mod line;
mod reader;
mod writer;

pub(crate) use reader::open;
pub(crate) use writer::{ContainerLog, LogLimits, Paths};
