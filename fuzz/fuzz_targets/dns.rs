//! A datagram to the DNS server: what is answered is an answer, to this question, and fits.

#![no_main]

libfuzzer_sys::fuzz_target!(|query: &[u8]| orchestra_net::fuzzing::dns(query));
