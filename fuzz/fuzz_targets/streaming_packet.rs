//! libFuzzer on `streaming_packet`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::streaming_packet(data));
