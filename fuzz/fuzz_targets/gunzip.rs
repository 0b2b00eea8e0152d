//! libFuzzer on `gunzip`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::gunzip(data));
