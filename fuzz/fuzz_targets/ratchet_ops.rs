//! libFuzzer on `ratchet_ops`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::ratchet_ops(data));
