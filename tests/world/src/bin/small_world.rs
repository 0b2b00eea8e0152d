//! Runs a small simulated network for some minutes of virtual time and prints one line that depends
//! on nothing but the seed: `small-world --seed N [--routers N]`. Fails when a fetch fails.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

use ramson_world::{Shape, small_world};
use std::process::ExitCode;

const USAGE: &str = "usage: small-world --seed N [--routers N]";

fn main() -> ExitCode {
    let Some((seed, routers)) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let (line, failed) = small_world(seed, Shape { routers, ..Shape::default() });
    println!("{line}");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn arguments() -> Option<(u64, usize)> {
    let (mut seed, mut routers) = (None, Shape::default().routers);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next()?.parse().ok()?;
        match name.as_str() {
            "--seed" => seed = Some(value),
            "--routers" if (5..=150).contains(&value) => routers = value as usize,
            _ => return None,
        }
    }
    Some((seed?, routers))
}
