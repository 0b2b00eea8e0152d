//! libFuzzer on `delivery_instructions`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::delivery_instructions(data));
