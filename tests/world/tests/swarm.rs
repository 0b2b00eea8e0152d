//! Small networks with a few faults each, other ones for each seed: none keeps a site away for good.

use ramson_world::sim::{Scenario, run, swarm};
use std::panic::catch_unwind;

/// As many as the day allows; a nightly run takes thousands (`ramson sim --scenario swarm --seeds`).
const SEEDS: u64 = 50;

fn works(plan: &Scenario, seed: u64) -> bool {
    let outcome = catch_unwind(|| run(plan, seed, &mut |_| 0));
    matches!(outcome, Ok(Ok(outcome)) if outcome.is_met())
}

#[test]
fn every_seed_heals() {
    // Worlds share nothing: two at once, as most machines have two processors.
    let half = |odd: u64| {
        let seeds = (1..=SEEDS).filter(move |s| s % 2 == odd);
        let broken: Vec<u64> = seeds.filter(|s| !works(&swarm::plan(*s), *s)).collect();
        broken
    };
    let other = std::thread::spawn(move || half(1));
    let mut broken = half(0);
    broken.extend(other.join().unwrap());
    assert!(broken.is_empty(), "ramson sim --scenario swarm --seed: {broken:?}");
}

#[test]
fn a_planted_bug_is_found_and_made_small() {
    let mut found = None;
    for seed in 1..=100 {
        let mut plan = swarm::plan(seed);
        plan.planted_bug = true;
        if !works(&plan, seed) {
            found = Some((seed, plan));
            break;
        }
    }
    let (seed, plan) = found.expect("a hundred seeds find a bug that loses timers");
    let least = swarm::minimise(plan, &mut |less| !works(less, seed));
    // It is about processes that stand still; what else there is makes it seen. Routers that mend much
    // by themselves need two more faults at the same time for it to stay.
    let words = swarm::describe(&least);
    assert!(words.contains("Freeze") && least.faults.len() <= 3, "seed {seed}: {words}");
    assert!(least.adversaries.is_empty(), "seed {seed}: {words}");
}
