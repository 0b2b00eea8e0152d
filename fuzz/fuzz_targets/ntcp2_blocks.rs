//! libFuzzer on `ntcp2_blocks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::ntcp2_blocks(data));
