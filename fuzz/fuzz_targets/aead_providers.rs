//! libFuzzer on `aead_providers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::aead_providers(data));
