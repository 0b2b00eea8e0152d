//! libFuzzer on `ssu2_endpoint_ops`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::ssu2_endpoint_ops(data));
