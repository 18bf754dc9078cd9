//! For those who implement a trait of Orchestra, and for Orchestra itself: contract suites, fakes, and the cluster
//! simulator.

pub mod autoscale_contract;
pub mod balance_contract;
pub mod rollout_contract;
pub mod runtime_contract;
pub mod scheduler_contract;
pub mod sim;
pub mod sim_runtime;
pub mod store_contract;
