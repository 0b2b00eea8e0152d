//! The scenarios that come with the program, in small.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use ramson_world::sim::{Outcome, SCENARIOS, Scenario, by_name, html, merge, merged_table, run};

fn scenario(name: &str) -> Scenario {
    by_name(name).expect("it is there").expect("it can be read")
}

fn small(name: &str, routers: usize, seed: u64) -> Outcome {
    let mut scenario = scenario(name);
    scenario.network.routers = routers;
    run(&scenario, seed, &mut |_| 0).expect("it runs")
}

fn assert_met(name: &str, outcome: &Outcome) {
    // So few know each other: there may be nothing that is looked up.
    let idle = |what: &str| what.contains("lookups");
    let checked = || outcome.checked.iter().filter(|c| c.percent.is_some() || !idle(&c.what));
    assert!(checked().count() > 0, "{name}");
    for checked in checked() {
        assert!(checked.met, "{name}: {}: {}", checked.what, checked.measured);
    }
}

#[test]
fn all_can_be_read_and_say_what_they_are_about() {
    for (name, _) in SCENARIOS {
        let scenario = scenario(name);
        assert!(!scenario.about.is_empty() && !scenario.expects.is_empty(), "{name}");
    }
}

#[test]
fn what_goes_wrong_is_over_when_it_is_over() {
    for name in ["parted", "links-down", "frozen", "midnight"] {
        assert_met(name, &small(name, 30, 1));
    }
}

#[test]
fn corruption_that_tcp_does_not_find_reaches_nobody() {
    assert_met("corruption", &small("corruption", 30, 1));
}

#[test]
fn hops_that_drop_and_floodfills_that_are_none_are_avoided() {
    for name in ["dropping-hops", "deaf-floodfills"] {
        assert_met(name, &small(name, 40, 1));
    }
}

/// A bit of everything that draws lots.
const EVENTFUL: &str = r#"
about = "x"
duration = "6m"
network = { routers = 20, firewalled = 0.3 }
links = { loss = 0.02, burst = 2, late = 0.1, late_by = "200 ms", corrupt = 0.0005, rate = 500_000 }
traffic = { streams = 0.5, stream_for = "60s" }
[[fault]]
kind = "freeze"
at = "150s"
for = "20s"
share = 0.3
within = "30s"
[[fault]]
kind = "crash"
at = "200s"
for = "20s"
share = 0.2
[[adversary]]
kind = "delay"
at = "2m"
of = "others"
count = 2
delay = "400 ms"
chance = 0.5
[[expect]]
what = "fetches"
percent = 50
"#;

#[test]
fn one_seed_has_one_document() {
    let scenario = Scenario::parse(EVENTFUL).unwrap();
    let document = |seed| run(&scenario, seed, &mut |_| 0).unwrap().json;
    let (first, again, other) = (document(1), document(1), document(2));
    assert_eq!(first, again);
    assert_ne!(first["digest"], other["digest"]);

    assert!(html(&first).contains("Lookups that succeed"));
    let mut missed = first.clone();
    missed["expect"][0]["met"] = false.into();
    let merged = merge(&[missed, other]).unwrap();
    assert_eq!(merged["runs"], 2);
    assert!(merged_table(&merged).contains("missed by seeds [1"), "{}", merged_table(&merged));
    assert!(merge(&[first, again]).unwrap_err().contains("twice"));
}

/// Each sample has time to measure something in, and the last one is of the end.
#[test]
fn samples_are_apart() {
    for (duration, step) in [("60s", 5.0), ("63s", 5.0), ("9m", 6.0)] {
        let text = format!("about = 'x'\nduration = '{duration}'\nnetwork = {{ routers = 5 }}");
        let scenario = Scenario::parse(&text).unwrap();
        let json = run(&scenario, 1, &mut |_| 0).unwrap().json;
        let times: Vec<f64> =
            json["series"]["t_s"].as_array().unwrap().iter().filter_map(|t| t.as_f64()).collect();
        assert!(times.windows(2).all(|t| t[1] - t[0] >= step / 2.0), "{times:?}");
        assert_eq!(times.last().copied(), Some(scenario.duration.0.as_secs_f64()));
        let builds: u64 = ["refused", "timed_out", "no_path"]
            .iter()
            .flat_map(|why| json["series"][format!("builds_{why}")].as_array().unwrap())
            .filter_map(|n| n.as_u64())
            .sum();
        assert_eq!(Some(builds), json["builds"]["failed"].as_u64());
        assert!(builds > 0, "{duration}: five routers have too few hops for some");
    }
}

#[test]
fn a_fault_that_meets_nobody_is_a_miss() {
    let text = "about = 'x'\nduration = '5m'\n[network]\nrouters = 20\nfloodfills = 0.2\nsites = 0.4\n\
                [[fault]]\nkind = 'crash'\nat = '2m'\nof = 'others'\ncount = 1\n\
                [[expect]]\nwhat = 'fetches'\nfrom = '2m'\npercent = 50";
    let outcome = run(&Scenario::parse(text).unwrap(), 1, &mut |_| 0).unwrap();
    assert!(!outcome.is_met());
    let missed: Vec<_> = outcome.checked.iter().filter(|c| !c.met).map(|c| &c.measured).collect();
    assert_eq!(missed, ["nobody: Crash at 2 min"]);
}

/// Every kind of weather, with routers behind boxes that forget.
const BOXES: &str = r#"
about = "x"
duration = "5m"
network = { routers = 20, ssu2 = true }
links = { loss = 0.01, damage = 0.01, duplicate = 0.01, mtu = 1400 }
[[nat]]
share = 0.4
[[nat]]
share = 0.4
mapping = "address-and-port-dependent"
filtering = "address-dependent"
lifetime = "30s"
preserve = false
hairpin = true
[[fault]]
kind = "nat-rebind"
at = "200s"
share = 0.5
renumber = true
[[expect]]
what = "fetches"
from = "3m"
percent = 80
"#;

#[test]
fn routers_behind_boxes_are_reached_by_those_they_called() {
    let scenario = Scenario::parse(BOXES).unwrap();
    let outcome = run(&scenario, 1, &mut |_| 0).unwrap();
    assert_met("boxes", &outcome);
    assert!(outcome.json["datagrams"]["sent"].is_u64());
    let again = run(&scenario, 1, &mut |_| 0).unwrap();
    assert_eq!(outcome.json, again.json);
}

#[test]
fn a_kind_of_box_that_nobody_has_is_a_miss() {
    let text = "about = 'x'\nduration = '10s'\n[network]\nrouters = 10\n[[nat]]\nshare = 0.00001\n\
                [[fault]]\nkind = 'nat-rebind'\nat = '5s'\ncount = 3\n";
    let outcome = run(&Scenario::parse(text).unwrap(), 1, &mut |_| 0).unwrap();
    let missed: Vec<_> = outcome.checked.iter().filter(|c| !c.met).map(|c| &c.measured).collect();
    assert_eq!(missed, ["nobody: NatRebind at 5 s, nat of share 0.00001"]);
}

#[test]
fn wrong_scenarios_are_refused_with_what_is_wrong() {
    for (text, want) in [
        ("duration = '1m'", "about"),
        ("about = 'x'\nduration = 'soon'", "no length of time"),
        ("about = 'x'\n[network]\nrouters = 3", "from 5 to 17000"),
        ("about = 'x'\n[network]\nrooters = 30", "rooters"),
        ("about = 'x'\n[network]\nsites = 0.9", "above 1"),
        ("about = 'x'\n[network]\nneighbours = 0", "from 1 to 200"),
        ("about = 'x'\n[network]\nbuild_timeout = '2m'", "not within 1s to 60s"),
        ("about = 'x'\n[network]\ntest_timeout = '10 ms'", "timing.first_test_timeout"),
        ("about = 'x'\n[network]\nclock = '24:00'", "no time of day"),
        ("about = 'x'\n[links]\nloss = 2.0", "a share is from 0 to 1"),
        ("about = 'x'\n[links]\nduplicate = 2.0", "links.duplicate is 2: a share"),
        ("about = 'x'\n[links]\ndamage = -1.0", "links.damage is -1: a share"),
        ("about = 'x'\n[links]\nmtu = 500\n[network]\nssu2 = true", "from 576 to 1500"),
        ("about = 'x'\n[links]\nmtu = 1400", "for networks with ssu2"),
        ("about = 'x'\n[network]\nntcp2 = false", "ntcp2 or ssu2"),
        ("about = 'x'\n[[nat]]\nmapping = 'address-dependent'", "share"),
        ("about = 'x'\n[[nat]]\nshare = 1.5", "nat.share is 1.5"),
        ("about = 'x'\n[[nat]]\nshare = 0.0", "nobody has such a box"),
        ("about = 'x'\n[[nat]]\nshare = 0.6\n[[nat]]\nshare = 0.6", "above 1"),
        ("about = 'x'\n[[nat]]\nshare = 0.6\nlifetime = '0s'", "nat.lifetime"),
        ("about = 'x'\n[[nat]]\nshare = 0.6\nfiltering = 'symmetric'", "symmetric"),
        ("about = 'x'\n[[fault]]\nkind = 'nat-rebind'\nat = '1m'\ncount = 1", "a [[nat]]"),
        (
            "about = 'x'\n[[nat]]\nshare = 0.5\n[[fault]]\nkind = 'nat-rebind'\nat = '1m'\ncount = 1\nfor = '1m'",
            "does not come back",
        ),
        (
            "about = 'x'\n[[fault]]\nkind = 'crash'\nat = '1m'\ncount = 1\nrenumber = true",
            "renumber is for another kind",
        ),
        ("about = 'x'\n[[fault]]\nkind = 'crash'\nat = '1m'", "either share or count"),
        ("about = 'x'\n[[fault]]\nkind = 'crash'\nat = '1h'\ncount = 1", "after the end"),
        ("about = 'x'\n[[fault]]\nkind = 'clock'\nat = '1m'\ncount = 1", "it needs seconds"),
        (
            "about = 'x'\n[[fault]]\nkind = 'crash'\nat = '1m'\ncount = 1\nseconds = 5",
            "for another kind",
        ),
        ("about = 'x'\n[[expect]]\nwhat = 'fetches'\npercent = 90\nform = '1m'", "form"),
        ("about = 'x'\n[[expect]]\nwhat = 'fetches'\npercent = 0", "percent is 0"),
        ("about = 'x'\n[[expect]]\nwhat = 'fetches'\npercent = 9\nfrom = '1h'", "nothing is"),
        ("about = 'x'\n[[fault]]\nkind = 'plague'\nat = '1m'\ncount = 1", "plague"),
        ("about = 'x'\n[[expect]]\nwhat = 'miracles'", "miracles"),
        ("about = 'x'\n[[expect]]\nwhat = 'streams'", "percent"),
    ] {
        let error = Scenario::parse(text).expect_err(text);
        assert!(error.contains(want), "{text}: {error}");
    }
    let text = "about = 'x'\n[[adversary]]\nkind = 'saint'\ncount = 1";
    let scenario = Scenario::parse(text).expect("names of plug-ins are looked up later");
    let error = run(&scenario, 1, &mut |_| 0).err().expect("there is no such adversary");
    assert!(error.contains("saint") && error.contains("drop"), "{error}");
}
