//! A header of the PROXY protocol: none is longer than what came, and what is whole stays so with more behind it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| orchestra_net::fuzzing::proxy_protocol(bytes));
