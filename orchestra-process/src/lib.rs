//! Pods as plain processes.
#![cfg(target_os = "linux")]

mod address;
mod adopt;
mod builder;
mod cgroup;
mod container;
mod error;
mod exec;
mod host_port;
mod image;
mod journal;
mod keeper;
mod kill;
mod launch;
mod log;
mod pidfd_info;
mod procfs;
mod pty;
mod reap;
mod record;
mod runtime;
mod sandbox;
mod slots;
mod spawn;
mod state;
mod state_lock;
mod stats;
mod stdio;
#[cfg(test)]
mod testing;

pub use builder::{DEFAULT_ADDRESS_QUARANTINE, DEFAULT_LOG_BYTES, DEFAULT_LOG_FILES, ProcessRuntimeBuilder};
pub use image::ProcessImage;
pub use runtime::ProcessRuntime;
