//! libFuzzer on `garlic_router`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::garlic_router(data));
