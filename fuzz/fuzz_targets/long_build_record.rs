//! libFuzzer on `long_build_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::long_build_record(data));
