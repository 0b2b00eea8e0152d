//! libFuzzer on `streaming_ops`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::streaming_ops(data));
