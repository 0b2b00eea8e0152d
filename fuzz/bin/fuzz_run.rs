//! `fuzz-run TARGET SECONDS [SEED]`: mutates the corpus of a target until the time is over.
//!
//! No coverage feedback, but it needs nothing beyond a stable compiler. What breaks is written to
//! the current folder; the seed and its number bring it back.
#![expect(
    clippy::print_stderr,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a tool for developers, at the edge"
)]

use ramson_fuzz::mutate::Mutator;
use std::panic;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let number = |n: usize| args.get(n).and_then(|a| a.parse::<u64>().ok());
    let (Some(name), Some(seconds)) = (args.first(), number(1)) else {
        eprintln!("usage: fuzz-run TARGET SECONDS [SEED]; targets:");
        ramson_fuzz::TARGETS.iter().for_each(|(name, _)| eprintln!("  {name}"));
        return ExitCode::from(2);
    };
    let Some(target) = ramson_fuzz::target(name) else {
        eprintln!("no target {name}");
        return ExitCode::from(2);
    };
    let seed = number(2).unwrap_or(1);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let files = fs::read_dir(folder).expect("the target's corpus");
    let mut paths: Vec<_> = files.filter_map(|f| Some(f.ok()?.path())).collect();
    paths.sort();
    let corpus: Vec<Vec<u8>> = paths.iter().filter_map(|p| fs::read(p).ok()).collect();
    let mut mutator = Mutator::new(seed);
    let (start, mut runs, mut slowest) = (Instant::now(), 0u64, Duration::ZERO);
    while start.elapsed() < Duration::from_secs(seconds) {
        let input = mutator.next(&corpus);
        let before = Instant::now();
        if panic::catch_unwind(|| target(&input)).is_err() {
            let path = format!("crash-{name}-{seed}-{runs}");
            fs::write(&path, &input).expect("the input written");
            eprintln!("{name}: seed {seed}, run {runs}: input in {path}");
            return ExitCode::FAILURE;
        }
        slowest = slowest.max(before.elapsed());
        runs += 1;
    }
    eprintln!("{name}: {runs} runs, slowest {slowest:?}");
    ExitCode::SUCCESS
}
