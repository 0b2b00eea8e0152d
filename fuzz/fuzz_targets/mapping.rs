//! libFuzzer on `mapping`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::mapping(data));
