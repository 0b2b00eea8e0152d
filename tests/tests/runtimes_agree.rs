//! The scenarios of `tests/scenarios` come out the same under every runtime, and when routers of both
//! are in one network; how they are written is said in `tests/src/agree/scenario.rs`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ramson_tests::agree::Kind::{Mio, Tokio, Tunnels};
use ramson_tests::agree::{Mix, Scenario, run};
use std::fmt::Write as _;
use std::path::Path;
use std::thread;

const EXE: &str = env!("CARGO_BIN_EXE_ramson-under-test");
/// Clients are at router 0, destinations at router 1: the mixed ones have either way.
const MIXES: [Mix; 5] = [
    Mix { name: "mio", kinds: &[Mio] },
    Mix { name: "tokio", kinds: &[Tokio] },
    Mix { name: "tokio with tunnels", kinds: &[Tunnels] },
    Mix { name: "mio to tokio", kinds: &[Mio, Tokio] },
    Mix { name: "tokio to mio", kinds: &[Tokio, Mio] },
];

fn load(name: &str) -> Scenario {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    Scenario::parse(name, &text).unwrap_or_else(|e| panic!("{e}"))
}

/// Lines of which one has what the other has not.
fn difference(want: &[String], got: &[String]) -> String {
    let mut text = String::new();
    for i in 0..want.len().max(got.len()) {
        let (want, got) = (want.get(i), got.get(i));
        if want != got {
            let line = |line: Option<&String>| line.map_or("nothing", |l| l).to_owned();
            let _ = write!(text, "\n  expected: {}\n       got: {}", line(want), line(got));
        }
    }
    text
}

/// Runs it under every mix, all at the same time.
fn agree(name: &str) {
    let scenario = load(name);
    let told: Vec<Vec<String>> = thread::scope(|scope| {
        let runs = MIXES.each_ref().map(|mix| scope.spawn(|| run(EXE, &scenario, mix)));
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let mut wrong = String::new();
    for (mix, told) in MIXES.iter().zip(&told) {
        let difference = difference(&scenario.expected(), told);
        if !difference.is_empty() {
            let _ = write!(wrong, "\n{name} under {}:{difference}", mix.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn streams_end_the_same_way() {
    agree("endings.txt");
}

#[test]
fn much_at_once_and_much_in_all_arrives() {
    agree("volume.txt");
}

#[test]
fn a_stop_in_the_middle_of_a_transfer_is_a_reset_and_keys_are_kept() {
    agree("stops.txt");
}

#[test]
fn killed_routers_are_done_without_and_come_back() {
    agree("killed.txt");
}

#[test]
fn each_runtime_starts_from_what_the_other_one_stored() {
    agree("moved.txt");
}
