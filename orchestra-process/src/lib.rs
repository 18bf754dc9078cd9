//! A [`Runtime`](orchestra_core::runtime::Runtime) that runs pods as plain processes of this host. Nothing has to be
//! installed for it, and it needs no rights; it isolates nothing either.
//!
//! A pod has an address of its own out of 127.0.0.0/8, as `POD_IP`. A container has a directory of its own, as
//! `CONTAINER_ROOT`, where it starts and below which its mounts are; the environment of its image and its spec; logs that
//! are rotated; and, where this process may make control groups, its limits.
//!
//! A process may do all that its user may. So there is no enforcing `readOnlyRootFilesystem`, `privileged`, `capabilities`,
//! `allowPrivilegeEscalation`, `readOnly` of a volume mount, and limits of a whole pod; an `emptyDir` of the medium `Memory` is
//! a directory of the disk; `fsGroup` and `supplementalGroups`, as `runAsUser`, need root; limits of CPU and memory are not enforced where there are no
//! control groups. Where a container asks for one of them it runs, and an event of its pod says so. It does not run where
//! `runAsNonRoot` forbids the user that it would have.
//!
//! When a container ends, nothing of it is left: all that is in its process group or its control group, bears its
//! marker in the environment, or has its output, is killed. Only a program that gave up all of these gets away, in a container without
//! limits and without a CPU request, or where no control group can be made.
#![cfg(target_os = "linux")]

mod address;
mod adopt;
mod builder;
mod cgroup;
mod container;
#[cfg(target_env = "gnu")]
mod direct;
mod error;
mod exec;
mod host_address;
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
