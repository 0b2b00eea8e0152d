//! The network of `run.mjs`, without WebAssembly: `native [SEED]` prints the same report, to the digit.
#![expect(clippy::print_stdout, reason = "a command-line program")]

use ramson_wasm::Scenario;
use std::process::ExitCode;
use std::time::Duration;

/// As in the script.
const LIMIT: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let seed = std::env::args().nth(1).and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let mut scenario = Scenario::new(seed);
    let done = scenario.run(LIMIT);
    println!("{}", scenario.report());
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
