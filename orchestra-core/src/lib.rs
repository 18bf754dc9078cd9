//! Objects, decisions, store, controllers and the node agent of Orchestra. Applications use the crate `orchestra`, which has all
//! of it behind `Cluster`.
//!
//! - To replace a decision: [`scheduler`], [`rollout`], [`balance`], [`autoscale`].
//! - To run containers elsewhere: [`runtime`]. To keep objects elsewhere: [`store`].
//! - To write a controller: [`engine`], [`client`]. Those that ship are in [`controller`], the node agent is [`node`].
//! - What all of it is about: [`model`]. Time, randomness and draining come from outside: [`clock`], [`rng`], [`drain`].

pub mod autoscale;
pub mod balance;
pub mod client;
pub mod clock;
pub mod controller;
pub mod drain;
pub mod engine;
pub mod model;
pub mod node;
mod panics;
pub mod rng;
pub mod rollout;
pub mod runtime;
pub mod scheduler;
pub mod store;
