//! All targets over their corpus: as it is, cut, and damaged.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it ran on"
)]

use ramson_fuzz::mutate::Mutator;
use ramson_fuzz::samples::samples;
use ramson_fuzz::{TARGETS, target};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Cuts of one file; more than its length, but for the largest.
const CUTS: usize = 2048;
/// Damaged inputs for each target.
const DAMAGED: usize = 3000;
/// Targets with key exchanges inside get a tenth of both.
const SLOW: &[&str] = &[
    "garlic_router",
    "netdb_ops",
    "ntcp2_initiator",
    "ntcp2_peer",
    "ntcp2_responder",
    "ratchet_ops",
    "signature",
    "ssu2_endpoint_ops",
    "streaming_ops",
    "tunnel_endpoint_ops",
    "tunnel_ops",
];
/// Whole networks get a hundredth.
const DEAR: &[&str] = &["world_ops"];

/// What a target gets of `most`.
fn share(name: &str, most: usize) -> usize {
    match name {
        name if DEAR.contains(&name) => most / 100,
        name if SLOW.contains(&name) => most / 10,
        _ => most,
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// The files of one target's corpus, sorted by name.
fn corpus(name: &str) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(root().join("corpus").join(name)).expect(name);
    files
        .map(|file| {
            let file = file.unwrap();
            (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())
        })
        .collect()
}

/// Runs `work` for all targets on as many threads as there are processors.
fn for_all_targets(work: impl Fn(&str, fn(&[u8])) + Sync) {
    let left = Mutex::new(TARGETS.iter());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((name, run)) = { left.lock().unwrap().next() } {
                    work(name, *run);
                }
            });
        }
    });
}

/// Says which input it was when `run` panics.
struct Blame<'a> {
    target: &'a str,
    what: String,
    input: &'a [u8],
}

impl Drop for Blame<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} on {}: {:02x?}", self.target, self.what, self.input);
        }
    }
}

fn run_on(target: &str, run: fn(&[u8]), what: impl Into<String>, input: &[u8]) {
    let _blame = Blame { target, what: what.into(), input };
    run(input);
}

#[test]
fn every_target_has_a_corpus_that_holds() {
    for_all_targets(|name, run| {
        let files = corpus(name);
        assert!(!files.is_empty(), "{name} has no corpus");
        run_on(name, run, "nothing", &[]);
        for (file, bytes) in files {
            run_on(name, run, file, &bytes);
        }
    });
}

#[test]
fn every_cut_of_the_corpus_holds() {
    for_all_targets(|name, run| {
        let cuts = share(name, CUTS);
        for (file, bytes) in corpus(name) {
            for cut in (0..bytes.len()).step_by(bytes.len().div_ceil(cuts).max(1)) {
                run_on(name, run, format!("{file} cut at {cut}"), &bytes[..cut]);
            }
            run_on(name, run, format!("{file} and a byte"), &[&bytes[..], &[0]].concat());
        }
    });
}

#[test]
fn damaged_corpus_holds() {
    for_all_targets(|name, run| {
        let files: Vec<Vec<u8>> = corpus(name).into_values().collect();
        let runs = share(name, DAMAGED);
        let mut mutator = Mutator::new(1);
        for n in 0..runs {
            run_on(name, run, format!("damage {n}"), &mutator.next(&files));
        }
    });
}

#[test]
fn the_committed_corpus_is_what_the_encoders_make() {
    let mut made: BTreeMap<&str, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for sample in samples() {
        assert!(target(sample.target).is_some(), "a sample for nobody: {}", sample.target);
        let before =
            made.entry(sample.target).or_default().insert(sample.name.clone(), sample.bytes);
        assert!(before.is_none(), "{}/{} twice", sample.target, sample.name);
    }
    for (name, samples) in &made {
        let mut files = corpus(name);
        files.retain(|file, _| !file.starts_with("found-"));
        let names = |map: &BTreeMap<String, Vec<u8>>| map.keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            names(&files),
            names(samples),
            "{name}: run make-corpus, remove what is left over"
        );
        for (file, bytes) in samples {
            assert!(files[file] == *bytes, "{name}/{file}: run make-corpus");
        }
    }
    let folders = fs::read_dir(root().join("corpus")).unwrap();
    let folders: BTreeSet<_> =
        folders.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(folders, TARGETS.iter().map(|(name, _)| (*name).to_string()).collect());
}

#[test]
fn the_corpus_stays_small() {
    let size: usize =
        TARGETS.iter().flat_map(|(name, _)| corpus(name).into_values()).map(|b| b.len()).sum();
    assert!(size < 300 * 1024, "{size} bytes");
}

#[test]
fn every_target_has_its_libfuzzer_binary() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let path = format!("fuzz_targets/{name}.rs");
        let source = fs::read_to_string(root().join(&path)).unwrap_or_default();
        assert!(source.contains(&format!("ramson_fuzz::{name}(data)")), "{path}");
        assert!(manifest.contains(&format!("path = \"{path}\"")), "{path} in Cargo.toml");
    }
    assert!(TARGETS.is_sorted());
}
