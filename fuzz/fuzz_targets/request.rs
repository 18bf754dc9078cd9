//! The head of a request on its way through the proxy: refused, or without what belongs to one hop, with one clear host, and with
//! what the proxy itself says of the client.

#![no_main]

libfuzzer_sys::fuzz_target!(|head: &[u8]| orchestra_net::fuzzing::request(head));
