//! Part of Orchestra.

pub mod rollout_contract;
