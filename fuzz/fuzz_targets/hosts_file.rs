//! libFuzzer on `hosts_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::hosts_file(data));
