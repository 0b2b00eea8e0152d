//! libFuzzer on `database_search_reply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ramson_fuzz::database_search_reply(data));
