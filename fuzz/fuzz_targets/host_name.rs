//! libFuzzer on `host_name`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::host_name(data));
