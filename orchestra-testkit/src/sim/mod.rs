//! Whole clusters under a seeded simulator.
//!
//! [`Simulation::run`] lives through minutes of a cluster's life in a second or so: the store, the real
//! controllers, the real node agents, on one thread, under a paused clock, with everything that can go wrong
//! going wrong: processes that die at any await, calls whose reply is lost, watches that break, nodes that lose
//! their power or their network. All of it follows from one number, so a failure can be lived through again.
//!
//! While it runs, checks judge every commit and every event of a runtime. They never ask the cluster how it is:
//! they know what really runs. When users and faults have stopped, everything must come to be as desired, and
//! then nothing may happen any more.

mod apps;
mod check;
mod control_plane;
mod event;
mod faults;
mod host;
mod image;
mod machine;
mod mutant;
mod options;
mod outcome;
mod process;
mod run;
mod runtime;
mod store;
mod trace;
mod traffic;
mod users;
mod view;
mod watch;
mod world;

pub use mutant::Mutant;
pub use options::{Faults, Options};
pub use outcome::Outcome;
pub use run::Simulation;
pub use world::Violation;
