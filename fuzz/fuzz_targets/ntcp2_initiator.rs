//! libFuzzer on `ntcp2_initiator`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::ntcp2_initiator(data));
