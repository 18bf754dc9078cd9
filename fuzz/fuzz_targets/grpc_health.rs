//! What a gRPC health service answers, read by hand.

#![no_main]

libfuzzer_sys::fuzz_target!(|message: &[u8]| assert!(!orchestra_core::node::read_answer(message).is_empty()));
