//! libFuzzer on `elligator2_key`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::elligator2_key(data));
