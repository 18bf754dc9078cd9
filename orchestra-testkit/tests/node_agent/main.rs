//! The node agent, on a memory store and a simulated runtime, with time paused.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::clone_on_ref_ptr,
    reason = "a test fails by panicking, and may print"
)]

mod adoption;
mod behind;
mod configuration;
mod deletion;
mod faults;
mod lifecycle;
mod probes;
mod rig;
