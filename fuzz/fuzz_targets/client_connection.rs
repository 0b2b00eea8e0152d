//! libFuzzer on `client_connection`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::client_connection(data));
