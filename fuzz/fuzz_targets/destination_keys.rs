//! libFuzzer on `destination_keys`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::destination_keys(data));
