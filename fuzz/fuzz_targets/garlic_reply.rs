//! libFuzzer on `garlic_reply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::garlic_reply(data));
