//! libFuzzer on the target that the environment variable `FUZZ_TARGET` names: one build for all.
#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<Option<fn(&[u8])>> =
    LazyLock::new(|| std::env::var("FUZZ_TARGET").ok().and_then(|name| ramson_fuzz::target(&name)));

libfuzzer_sys::fuzz_target!(|data: &[u8]| match *TARGET {
    Some(run) => run(data),
    None => std::process::abort(),
});
