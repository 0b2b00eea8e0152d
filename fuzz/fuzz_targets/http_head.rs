//! libFuzzer on `http_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::http_head(data));
