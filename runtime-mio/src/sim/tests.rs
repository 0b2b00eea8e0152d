//! The command as a user has it, with worlds of a few routers.

use super::*;
use crate::test_dir::TestDir;
use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

const TINY: &str = "
about = 'tiny'
duration = '3m'
network = { routers = 10, sites = 0.2, length = 1, start = '5s' }
traffic = { from = '30s', every = '10s', patience = '20s' }
[[expect]]
what = 'fetches'
percent = PERCENT
";

fn sim(arguments: &[&str]) -> Result<String, SimError> {
    let line = Line::try_parse_from([&["sim"], arguments].concat()).unwrap();
    run(&line.options)
}

#[test]
fn the_list_names_every_scenario_and_every_adversary() {
    let list = sim(&["--list"]).unwrap();
    for name in sim::SCENARIOS.iter().chain(sim::adversary::KINDS).map(|(name, _)| *name) {
        assert!(list.lines().any(|l| l.starts_with(&format!("{name} "))), "{name}");
    }
}

#[test]
fn what_cannot_be_run_is_for_the_user_to_fix() {
    let tmp = TestDir::new("sim-wrong");
    let broken = tmp.path().join("broken.toml");
    std::fs::write(&broken, "about = 'x'\nrouters = 7\n").unwrap();
    for (scenario, want) in [
        ("clam", "there are calm"),
        ("/nowhere/x.toml", "No such file"),
        (broken.to_str().unwrap(), "routers"),
    ] {
        let error = sim(&["--scenario", scenario]).unwrap_err();
        assert!(error.is_for_the_user() && error.to_string().contains(want), "{error}");
    }
    let error = sim(&["--routers", "3"]).unwrap_err();
    assert!(error.is_for_the_user() && error.to_string().contains("routers"), "{error}");
}

#[test]
fn a_run_has_a_table_a_document_and_a_page_and_runs_are_joined() {
    let tmp = TestDir::new("sim-report");
    let file = tmp.path().join("tiny.toml");
    std::fs::write(&file, TINY.replace("PERCENT", "90")).unwrap();
    let (file, one, two) = (file.to_str().unwrap(), tmp.path().join("1"), tmp.path().join("2"));
    let table = sim(&["--scenario", file, "--report", one.to_str().unwrap()]).unwrap();
    assert!(table.contains("met") && table.contains("90 % of the pages"), "{table}");
    let json = ["--scenario", file, "--seed", "2", "--json", "--report", two.to_str().unwrap()];
    let document: Value = serde_json::from_str(&sim(&json).unwrap()).unwrap();
    assert_eq!((&document["seed"], &document["routers"]), (&json!(2), &json!(10)));
    assert!(document["machine"]["cpu_s"].as_f64().is_some());
    let page = std::fs::read_to_string(two.join("report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("tiny"));

    let reports = [one.join("report.json"), two.join("report.json")];
    let [one, two] = reports.each_ref().map(|p| p.to_str().unwrap());
    assert!(sim(&["merge", one, two]).unwrap().contains("met   2 of 2"));
    let twice = sim(&["merge", one, one]).unwrap_err();
    assert!(twice.is_for_the_user() && twice.to_string().contains("twice"), "{twice}");
}

#[test]
fn what_is_missed_is_an_error() {
    let tmp = TestDir::new("sim-missed");
    let file = tmp.path().join("lost.toml");
    // Nothing ever gets through.
    let lost = TINY.replace("PERCENT", "1").replace("about", "links = { delay = '10m' }\nabout");
    std::fs::write(&file, lost).unwrap();
    let error = sim(&["--scenario", file.to_str().unwrap(), "--json"]).unwrap_err();
    assert!(matches!(&error, SimError::Missed(what) if what.contains("pages")), "{error}");
    assert!(!error.is_for_the_user());
}
