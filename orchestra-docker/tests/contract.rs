//! The Docker runtime keeps the contract of runtimes, on a real engine.
//!
//! Without libtest's harness, to name each check. Where no engine answers it says so and does nothing; with
//! `ORCHESTRA_REQUIRE_DOCKER=1` it fails then.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and may print")]

mod common;

use std::process::ExitCode;

fn main() -> ExitCode {
    common::subject::contract("contract", None)
}
