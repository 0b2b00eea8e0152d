//! libFuzzer on `base32_text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::base32_text(data));
