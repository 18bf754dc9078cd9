//! The node agent, on a memory store and a simulated runtime, with time paused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod adoption;
mod configuration;
mod deletion;
mod faults;
mod lifecycle;
mod probes;
mod rig;
