//! libFuzzer on `lease_set`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::lease_set(data));
