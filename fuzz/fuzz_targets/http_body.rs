//! libFuzzer on `http_body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::http_body(data));
