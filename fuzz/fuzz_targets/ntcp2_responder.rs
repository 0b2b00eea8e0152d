//! libFuzzer on `ntcp2_responder`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::ntcp2_responder(data));
