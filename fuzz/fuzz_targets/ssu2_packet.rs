//! libFuzzer on `ssu2_packet`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::ssu2_packet(data));
