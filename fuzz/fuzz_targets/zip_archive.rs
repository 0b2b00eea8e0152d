//! libFuzzer on `zip_archive`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::zip_archive(data));
