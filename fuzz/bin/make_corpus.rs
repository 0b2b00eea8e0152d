//! Writes the samples to `fuzz/corpus`. Files that are there under other names stay.
#![expect(clippy::expect_used, reason = "a tool for developers stops where it fails")]

use ramson_fuzz::samples::samples;
use std::fs;
use std::path::Path;

fn main() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for sample in samples() {
        let folder = corpus.join(sample.target);
        fs::create_dir_all(&folder).expect("a folder for the samples");
        fs::write(folder.join(&sample.name), &sample.bytes).expect("a sample written");
    }
}
