//! Objects, decisions, store, controllers and the node agent of Orchestra.

pub mod autoscale;
pub mod balance;
pub mod client;
pub mod clock;
pub mod controller;
pub mod drain;
pub mod engine;
pub mod model;
pub mod node;
pub mod rng;
pub mod rollout;
pub mod runtime;
pub mod scheduler;
pub mod store;
