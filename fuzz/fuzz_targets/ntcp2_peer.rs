//! libFuzzer on `ntcp2_peer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::ntcp2_peer(data));
