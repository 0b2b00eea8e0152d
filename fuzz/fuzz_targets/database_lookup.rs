//! libFuzzer on `database_lookup`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::database_lookup(data));
