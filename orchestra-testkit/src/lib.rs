//! Part of Orchestra.

pub mod rollout_contract;
pub mod runtime_contract;
pub mod scheduler_contract;
pub mod sim_runtime;
pub mod store_contract;
