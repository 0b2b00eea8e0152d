//! libFuzzer on `database_store`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::database_store(data));
