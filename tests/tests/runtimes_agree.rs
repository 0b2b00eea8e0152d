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

/// The lines that are not as they should be.
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

/// Runs them under every mix, all at the same time: they wait more than they work.
fn agree(names: &[&str]) {
    let scenarios: Vec<Scenario> = names.iter().map(|name| load(name)).collect();
    let mut wrong = String::new();
    thread::scope(|scope| {
        let mut runs = Vec::new();
        for scenario in &scenarios {
            let all = MIXES.each_ref().map(|mix| scope.spawn(move || run(EXE, scenario, mix)));
            runs.push((scenario, all));
        }
        for (scenario, all) in runs {
            let panicked = |_| vec!["it panicked, as is said above".into()];
            let told = all.map(|run| run.join().unwrap_or_else(panicked));
            for (mix, there) in MIXES.iter().zip(&told) {
                let difference = difference(&scenario.expected(), there);
                if !difference.is_empty() {
                    let _ = write!(wrong, "\n{} under {}:{difference}", scenario.name, mix.name);
                }
            }
            if told.iter().any(|there| *there != told[0]) {
                let _ = write!(wrong, "\n{}: the runtimes do not agree", scenario.name);
            }
        }
    });
    assert!(wrong.is_empty(), "{wrong}");
}

const STREAMS: &[&str] = &["endings.txt", "volume.txt"];
const STOPS: &[&str] = &["stops.txt", "moved.txt"];
const KILLS: &[&str] = &["killed.txt"];

#[test]
fn streams_end_the_same_way_and_all_that_was_said_arrives() {
    agree(STREAMS);
}

#[test]
fn routers_stop_and_start_again_even_under_the_other_runtime() {
    agree(STOPS);
}

#[test]
fn killed_routers_are_done_without_and_come_back() {
    agree(KILLS);
}

#[test]
fn no_scenario_is_forgotten() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut found: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    let mut used = [STREAMS, STOPS, KILLS].concat();
    used.sort_unstable();
    assert_eq!(found, used);
}
