//! A [`Runtime`](orchestra_core::runtime::Runtime) that runs pods on Docker Engine.
//!
//! A pod is a *sandbox* container, which runs nothing but a program of some hundred bytes that comes with this crate,
//! and the pod's containers, which share the sandbox's network, IPC and process namespaces. So a pod has one
//! address, `localhost` is the pod, no container's process is process 1, which would not hear SIGTERM, and what
//! containers leave behind is reaped. Every container carries labels with cluster, pod and container, and a name
//! that is derived from them; what lacks these labels is never touched.
//!
//! ```no_run
//! # async fn example() -> Result<(), orchestra_core::runtime::RuntimeError> {
//! use orchestra_docker::DockerRuntime;
//!
//! let runtime = DockerRuntime::builder("my-app").connect().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Images come from a registry, or are made of files of this program's choice ([`ImageFiles`]), the program itself among
//! them. Services that listen on this host are reached from pods on a network of
//! [their own](DockerRuntimeBuilder::service_network).
//!
//! The engine is the one of `DOCKER_HOST`, or of `/var/run/docker.sock`. It needs API 1.41 (Docker 20.10) or later,
//! and the architecture of this program, for which the sandboxes' program was compiled. Podman (4.3) is an engine too, where its socket
//! of Docker's API is named.

mod archive;
mod attach;
mod builder;
mod collect;
mod container;
mod core;
mod credentials;
mod error;
mod events;
mod exec;
mod files;
mod helper;
mod image;
mod kills;
mod labels;
mod logs;
mod members;
mod message;
mod pause;
mod pod_limits;
mod podman;
mod program;
mod pull;
mod raw;
mod runtime;
mod sandbox;
mod seccomp;
mod services;
mod spec;
mod stats;
mod status;
mod tasks;
mod volumes;

pub use builder::DockerRuntimeBuilder;
pub use collect::ImageCollection;
pub use files::ImageFiles;
pub use runtime::DockerRuntime;
