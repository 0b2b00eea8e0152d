//! Swarm testing: each seed draws a small network and a few of the faults, not all; what breaks is made
//! small again by leaving faults out.
//!
//! A plan is a scenario with nothing left to chance but what its seed decides, so that it can be made
//! smaller (see [`minimise`]).

use super::scenario::{
    Adversary, Expect, Fault, FaultKind, Group, Links, Network, Scenario, Span, Traffic,
};
use ramson_core::rng::{Rng, Seed};
use std::time::Duration;

/// When faults begin, when all of them are over, and when the run is.
const FROM: u64 = 120;
const HEALED: u64 = 300;
const END: u64 = 480;
/// All sites must answer again so soon.
const HEALS_WITHIN: u64 = 150;

/// The plan of a seed.
#[must_use]
pub fn plan(seed: u64) -> Scenario {
    let mut rng = Rng::new(&Seed::from_number(seed)).fork("swarm");
    let mut draw = |below: u64| rng.below(below);
    let mut faults = Vec::new();
    let mut kinds = vec![
        FaultKind::Crash,
        FaultKind::PowerLoss,
        FaultKind::Freeze,
        FaultKind::Partition,
        FaultKind::LinkDown,
        FaultKind::Clock,
        FaultKind::Drift,
        FaultKind::Weather,
        FaultKind::Firewall,
    ];
    for _ in 0..=draw(4) {
        let kind = kinds.swap_remove(draw(kinds.len() as u64) as usize);
        let only = |wanted: FaultKind| i64::from(kind == wanted);
        let at = FROM + draw(90);
        let of = [Group::All, Group::All, Group::Floodfills, Group::Others];
        faults.push(Fault {
            kind,
            at: Span::seconds(at),
            lasts: Some(Span::seconds(5 + draw(HEALED - at - 30))),
            of: of[draw(of.len() as u64) as usize],
            share: Some((1 + draw(6)) as f64 / 10.0),
            count: None,
            within: Span::seconds(draw(2) * 20),
            seconds: only(FaultKind::Clock) * [1, -1][draw(2) as usize] * (1 + draw(7200) as i64),
            micros: only(FaultKind::Drift) * (1 + draw(1000) as i64),
            links: if kind == FaultKind::Weather {
                Links {
                    loss: draw(10) as f64 / 100.0,
                    burst: 1.0 + draw(4) as f64,
                    late: draw(30) as f64 / 100.0,
                    late_by: Span(Duration::from_millis(draw(500))),
                    corrupt: draw(3) as f64 / 1000.0,
                    rate: [0, 0, 200_000][draw(3) as usize],
                    delay: Span(Duration::from_millis(1 + draw(200))),
                    ..Links::default()
                }
            } else {
                Links::default()
            },
            renumber: false,
        });
    }
    let mut adversaries = Vec::new();
    if draw(3) == 0 {
        // A flood of thousands that do not exist is too much for twenty that do; it has a scenario.
        let kinds = ["drop", "corrupt", "delay", "deaf-floodfill"];
        let kind = kinds[draw(kinds.len() as u64) as usize];
        adversaries.push(Adversary {
            kind: kind.to_owned(),
            at: Span::seconds(FROM),
            of: if kind == "deaf-floodfill" { Group::Floodfills } else { Group::Others },
            share: None,
            count: Some(1),
            chance: 0.5,
            rate: 0,
            delay: Span(Duration::from_millis(draw(3000))),
        });
    }
    Scenario {
        about: "A small network and a few faults, other ones for each seed".to_owned(),
        duration: Span::seconds(END),
        network: Network {
            routers: 14 + draw(8) as usize,
            floodfills: 0.2,
            sites: 0.15,
            length: 2 + draw(2) as u8,
            firewalled: [0.0, 0.0, 0.3][draw(3) as usize],
            ..Network::default()
        },
        links: Links::default(),
        traffic: Traffic {
            from: Span::seconds(60),
            every: Span::seconds(15),
            size: 1 + draw(20_000) as usize,
            patience: Span::seconds(40),
            streams: 0.5,
            stream_for: Span::seconds(60),
            ..Traffic::default()
        },
        nats: Vec::new(),
        faults,
        adversaries,
        expects: vec![Expect::Recovered {
            after: Span::seconds(HEALED),
            percent: 100.0,
            within: Span::seconds(HEALS_WITHIN),
        }],
        planted_bug: false,
    }
}

/// The least that still breaks: faults and attackers are left out one by one, as long as `breaks` says
/// that what is left does.
pub fn minimise(mut plan: Scenario, breaks: &mut dyn FnMut(&Scenario) -> bool) -> Scenario {
    loop {
        let mut smaller = None;
        for n in 0..plan.faults.len() + plan.adversaries.len() {
            let mut less = plan.clone();
            match n.checked_sub(plan.faults.len()) {
                None => drop(less.faults.remove(n)),
                Some(n) => drop(less.adversaries.remove(n)),
            }
            if breaks(&less) {
                smaller = Some(less);
                break;
            }
        }
        match smaller {
            Some(less) => plan = less,
            None => return plan,
        }
    }
}

/// What a plan has that can be left out, in words.
#[must_use]
pub fn describe(plan: &Scenario) -> String {
    let faults = plan.faults.iter().map(|f| {
        let lasts = f.lasts.unwrap_or_default();
        format!("{:?} of {:?} at {} for {lasts}", f.kind, f.of, f.at)
    });
    let adversaries = plan.adversaries.iter().map(|a| format!("{} at {}", a.kind, a.at));
    let all: Vec<String> = faults.chain(adversaries).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join("; ") }
}
