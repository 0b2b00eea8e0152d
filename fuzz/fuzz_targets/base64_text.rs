//! libFuzzer on `base64_text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::base64_text(data));
