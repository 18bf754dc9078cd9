//! Whole clusters on a real Docker Engine: nothing is doubled, nothing is left, whatever happens meanwhile.
//!
//! Where no engine answers these tests say so and do nothing; with `ORCHESTRA_REQUIRE_DOCKER=1` they fail then.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, says what it skips, and has helpers of its own"
)]

mod adoption;
mod calls;
mod chaos;
mod daemon;
mod features;
mod host;
#[cfg(all(feature = "docker-tls", feature = "docker-ssh"))]
mod hosts;
mod humans;
mod lost_answers;
mod lost_starts;
mod registry;
mod rollouts;
mod trouble;
