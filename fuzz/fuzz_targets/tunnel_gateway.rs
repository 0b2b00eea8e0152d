//! libFuzzer on `tunnel_gateway`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::tunnel_gateway(data));
