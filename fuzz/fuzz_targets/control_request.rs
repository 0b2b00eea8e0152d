//! libFuzzer on `control_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::control_request(data));
