//! libFuzzer on `short_build_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::short_build_record(data));
