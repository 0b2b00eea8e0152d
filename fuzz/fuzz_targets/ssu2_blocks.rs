//! libFuzzer on `ssu2_blocks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::ssu2_blocks(data));
