//! libFuzzer on `router_keys`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::router_keys(data));
