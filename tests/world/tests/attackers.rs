//! The attackers that scenarios can name, in small, and that their expectations can be missed.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use ramson_world::sim::{Outcome, Scenario, by_name, run};

fn small(name: &str, routers: usize, change: impl FnOnce(&mut Scenario)) -> Outcome {
    let mut scenario = by_name(name).expect("it is there").expect("it can be read");
    scenario.network.routers = routers;
    change(&mut scenario);
    run(&scenario, 1, &mut |_| 0).expect("it runs")
}

fn assert_met(name: &str, outcome: &Outcome) {
    for checked in &outcome.checked {
        assert!(checked.met, "{name}: {}: {}", checked.what, checked.measured);
    }
}

#[test]
fn a_cell_that_is_sent_again_goes_no_further() {
    assert_met("replayed-cells", &small("replayed-cells", 25, |_| {}));
}

#[test]
fn who_knocks_learns_nothing_and_is_in_nobodys_way() {
    assert_met("prober", &small("prober", 25, |_| {}));
}

#[test]
fn requests_from_nowhere_leave_nothing_and_draw_little() {
    // Fewer than are answered in a second, so that each is.
    let outcome = small("ssu2-flood", 20, |scenario| {
        scenario.network.length = 2;
        scenario.adversaries[0].rate = 300;
        scenario.adversaries[0].count = Some(1);
    });
    assert_met("ssu2-flood", &outcome);
    let unheard = outcome.json["datagrams"]["unheard"].as_u64().expect("it is counted");
    assert!(unheard > 10_000, "{unheard}");
}

#[test]
fn who_sees_all_packets_breaks_nothing() {
    let outcome = small("ssu2-forged", 20, |scenario| {
        scenario.network.length = 2;
        scenario.adversaries[0].count = Some(1);
    });
    assert_met("ssu2-forged", &outcome);
}

#[test]
fn clocks_of_others_move_nobodys() {
    assert_met("two-liars", &small("two-liars", 20, |_| {}));
}

#[test]
fn a_clock_that_is_off_is_seen() {
    // Routers hear the time once a minute: what their machine's clock gained since then, they are behind.
    let text = "about = 'x'\nduration = '4m'\n[network]\nrouters = 10\nfloodfills = 0.2\n\
                [[fault]]\nkind = 'drift'\nat = '1m'\ncount = 1\nmicros = 1000\n\
                [[expect]]\nwhat = 'clocks'\nwithin = '5 ms'";
    let outcome = run(&Scenario::parse(text).expect("it can be read"), 1, &mut |_| 0);
    let outcome = outcome.expect("it runs");
    let missed: Vec<_> = outcome.checked.iter().filter(|c| !c.met).map(|c| &c.what).collect();
    assert_eq!(missed, ["no clock is moved by more than 5 ms in all"]);
}

#[test]
fn attackers_that_lack_something_are_refused() {
    let adversary = |rest: &str| format!("about = 'x'\n[[adversary]]\ncount = 1\n{rest}");
    for (text, want) in [
        (adversary("kind = 'build-flood'"), "it needs a rate"),
        (adversary("kind = 'syn-flood'"), "it needs a rate"),
        (adversary("kind = 'prober'"), "it needs a rate"),
        (adversary("kind = 'ssu2-flood'"), "it needs a rate"),
        (adversary("kind = 'ssu2-forger'"), "it needs a rate"),
        (adversary("kind = 'liar-clock'"), "it needs a delay"),
    ] {
        let scenario = Scenario::parse(&text).expect("names of plug-ins are looked up later");
        let error = run(&scenario, 1, &mut |_| 0).err().expect("it does not run");
        assert!(error.contains(want), "{error}");
    }
    let text =
        adversary("kind = 'drop'\n[[expect]]\nwhat = 'repelled'\nkind = 'replay'\npercent = 1");
    let error = Scenario::parse(&text).expect_err("nobody replays");
    assert!(error.contains("no adversary of kind \"replay\""), "{error}");
}
