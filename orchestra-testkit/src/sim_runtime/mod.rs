//! A runtime without a host: containers that exist in memory, on tokio's time, with a record of what really happened.
//!
//! [`SimRuntime`] is a [`Runtime`](orchestra_core::runtime::Runtime) for tests and simulations. It costs a few hundred
//! bytes a container and no task or timer, so ten thousand pods are cheap. What a container does is its image's
//! [`SimProgram`]; what goes wrong is said by [`SimFaults`], drawn from one seed, or by one [`SimFault`] put in by
//! hand. Whoever checks an orchestrator asks the runtime's own [`SimRecord`]s, not the objects in the store.
//!
//! ```
//! use orchestra_testkit::sim_runtime::{SimProgram, SimRuntime};
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let runtime = SimRuntime::new(7);
//! runtime.image("shop/web:1", SimProgram::service());
//! runtime.image("shop/migrate:1", SimProgram::job(0).lasting(std::time::Duration::from_secs(3)));
//! assert!(runtime.live().is_empty());
//! # }
//! ```

mod fault;
mod handle;
mod prober;
mod program;
mod record;
mod runtime;
mod volumes;
mod world;

pub use fault::{SimFault, SimFaults, SimOp};
pub use handle::SimRuntime;
pub use prober::SimProber;
pub use program::{SimProgram, SimStop};
pub use record::{SimContainer, SimRecord, SimWhat};
pub use volumes::SimVolumes;
