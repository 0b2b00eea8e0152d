//! libFuzzer on `garlic_blocks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::garlic_blocks(data));
