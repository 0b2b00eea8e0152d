//! libFuzzer on `netdb_ops`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::netdb_ops(data));
