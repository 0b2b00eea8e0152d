//! libFuzzer on `sized_body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::sized_body(data));
