//! libFuzzer on `world_ops`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::world_ops(data));
