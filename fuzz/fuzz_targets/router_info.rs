//! libFuzzer on `router_info`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::router_info(data));
