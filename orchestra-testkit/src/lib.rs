//! For those who implement a trait of Orchestra, and for Orchestra itself.
//!
//! - A contract suite for each trait, to run on an implementation: the modules whose names end in `_contract`.
//! - Fakes: a simulated runtime with its volumes and probes ([`sim_runtime`]).
//! - A simulator that runs Orchestra's own controllers and agents through faults, from one seed ([`sim`]).

pub mod autoscale_contract;
pub mod balance_contract;
pub mod rollout_contract;
pub mod runtime_contract;
pub mod scheduler_contract;
pub mod sim;
pub mod sim_runtime;
pub mod store_contract;
