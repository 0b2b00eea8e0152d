//! libFuzzer on `delivery_status`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::delivery_status(data));
