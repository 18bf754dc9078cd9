//! Part of Orchestra.

pub mod rollout_contract;
pub mod runtime_contract;
