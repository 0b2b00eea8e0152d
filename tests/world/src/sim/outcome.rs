//! What came of a run: the measurements, and whether they are what the scenario asks for.

use super::adversary::Repelled;
use super::scenario::{Expect, Scenario, Span};
use super::series::{Fetch, Series, percentile, round};
use crate::world::World;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// One thing that was asked for.
#[derive(Clone, Debug)]
pub struct Checked {
    /// In words.
    pub what: String,
    /// What was measured, in words.
    pub measured: String,
    /// In per cent; `None` when there was nothing to measure.
    pub percent: Option<f64>,
    /// Whether it is enough.
    pub met: bool,
}

/// Who was met by what.
pub(super) struct Met {
    /// Whether both ends of each pair are up in the end.
    pub(super) lived: Vec<bool>,
    /// How many routers each fault met.
    pub(super) struck: Vec<usize>,
    /// How many are behind each kind of box.
    pub(super) boxed: Vec<usize>,
    /// How many each adversary has.
    pub(super) turned: Vec<usize>,
    /// What came of what each of them tried, where it knows.
    pub(super) tried: Vec<Option<Repelled>>,
}

/// What came of a run. The same seed gives the same, on every machine.
pub struct Outcome {
    /// One document with all of it, without what depends on the machine.
    pub json: Value,
    /// What the scenario asks for.
    pub checked: Vec<Checked>,
    /// The trace digest.
    pub digest: String,
    /// Highest resident memory seen, where that is known.
    pub resident: u64,
}

impl Outcome {
    pub(super) fn new(
        scenario: &Scenario,
        seed: u64,
        world: &World,
        series: Series,
        met: &Met,
    ) -> Self {
        let end = scenario.duration.0;
        let mut checked: Vec<Checked> =
            scenario.expects.iter().map(|e| check(e, scenario, &series, met)).collect();
        checked.extend(met_somebody(scenario, met));
        let digest = world.digest();
        let pages: Vec<Fetch> = series.fetches.iter().filter(|f| !f.slow).copied().collect();
        let ok = pages.iter().filter(|f| f.ok).count();
        let slow: Vec<Fetch> = series.fetches.iter().filter(|f| f.slow).copied().collect();
        let totals = series.totals(Duration::ZERO, end);
        let expects: Vec<Value> = checked
            .iter()
            .map(|c| {
                json!({ "what": c.what, "measured": c.measured, "percent": c.percent, "met": c.met })
            })
            .collect();
        let mut json = json!({
            "version": 1,
            "about": scenario.about,
            "seed": seed,
            "routers": scenario.network.routers,
            "duration_s": round(end.as_secs_f64()),
            // "stub" protects nothing, and stands for a run that real routers could not take part in.
            "crypto": if ramson_core::crypto::STUB { "stub" } else { "real" },
            "connections": world.dialled(),
            "events": world.events(),
            "digest": digest,
            "pages": {
                "ok": ok,
                "failed": pages.len() - ok,
                "p50_ms": percentile(&pages, 50),
                "p90_ms": percentile(&pages, 90),
                "p99_ms": percentile(&pages, 99),
            },
            "slow_downloads": {
                "ok": slow.iter().filter(|f| f.ok).count(),
                "failed": slow.iter().filter(|f| !f.ok).count(),
            },
            "builds": {
                "ok": totals.built,
                "failed": totals.not_built(),
                "refused": totals.refused,
                "timed_out": totals.timed_out,
                "no_path": totals.no_path,
            },
            "packets": { "first": totals.packets - totals.again, "again": totals.again },
            "lookups": { "ok": totals.found, "failed": totals.not_found },
            "routers_struck": met.struck,
            "routers_turned": met.turned,
            "expect": expects,
            "series": series.columns(),
        });
        if scenario.network.ssu2 {
            json["datagrams"] = json!(world.datagrams());
        }
        let resident = series.samples.iter().map(|s| s.resident).max().unwrap_or(0);
        Self { json, checked, digest, resident }
    }

    /// Whether all of it is as the scenario asks.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.checked.iter().all(|c| c.met)
    }
}

/// What met nobody shows nothing.
fn met_somebody(scenario: &Scenario, met: &Met) -> Option<Checked> {
    let faults = scenario.faults.iter().map(|f| format!("{:?} at {}", f.kind, f.at));
    let attackers = scenario.adversaries.iter().map(|a| format!("{} at {}", a.kind, a.at));
    let boxes = scenario.nats.iter().map(|n| format!("nat of share {}", n.share));
    let fates = faults.zip(&met.struck).chain(attackers.zip(&met.turned));
    let nodes: Vec<(String, &usize)> = fates.chain(boxes.zip(&met.boxed)).collect();
    let idle = nodes.iter().filter(|(_, nodes)| **nodes == 0).map(|(what, _)| what.as_str());
    let idle: Vec<&str> = idle.collect();
    (!nodes.is_empty()).then(|| Checked {
        what: "every fault and every attacker has somebody".to_owned(),
        measured: if idle.is_empty() {
            format!("{} routers", nodes.iter().map(|(_, nodes)| **nodes).sum::<usize>())
        } else {
            format!("nobody: {}", idle.join(", "))
        },
        percent: share(nodes.len() - idle.len(), nodes.len()).map(round),
        met: idle.is_empty(),
    })
}

fn share(good: usize, all: usize) -> Option<f64> {
    (all > 0).then(|| 100.0 * good as f64 / all as f64)
}

/// A share that is to be `least` or more; `of`: what it is a share of, in words.
fn judged(what: String, percent: Option<f64>, least: f64, of: &str) -> Checked {
    let measured =
        percent.map_or("nothing to measure".to_owned(), |percent| format!("{percent:.2} % {of}"));
    let met = percent.is_some_and(|percent| percent >= least);
    Checked { what, measured, percent: percent.map(round), met }
}

/// The same of things that are counted.
fn counted(what: String, good: usize, all: usize, least: f64, more: &str) -> Checked {
    judged(what, share(good, all), least, &format!("({good} of {all}){more}"))
}

fn check(expect: &Expect, scenario: &Scenario, series: &Series, met: &Met) -> Checked {
    let end = scenario.duration.0;
    let between = |from: &Span, to: &Option<Span>| match to {
        Some(to) => format!("between {from} and {to}"),
        None if from.0.is_zero() => "in all".to_owned(),
        None => format!("after {from}"),
    };
    match expect {
        Expect::Fetches { from, to, percent } => {
            // Whoever asked later may not have lost patience yet.
            let last = end.saturating_sub(scenario.traffic.patience.0);
            let until = to.map_or(last, |to| to.0.min(last));
            let within = |f: &&Fetch| !f.slow && f.from >= from.0 && f.from <= until;
            // A page whose ends did not live cannot come.
            let judge = |f: &&Fetch| f.ok || f.ends_lived;
            let some: Vec<&Fetch> = series.fetches.iter().filter(within).filter(judge).collect();
            let mut pairs: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
            for fetch in &some {
                let (good, all) = pairs.entry(fetch.pair).or_default();
                *good += usize::from(fetch.ok);
                *all += 1;
            }
            let good = some.iter().filter(|f| f.ok).count();
            let shares = pairs.values().map(|(good, all)| 100.0 * *good as f64 / *all as f64);
            let mean = shares.sum::<f64>() / pairs.len().max(1) as f64;
            let what = format!("{percent} % of the pages {}", between(from, to));
            let mean = (!pairs.is_empty()).then_some(mean);
            let of = format!("({good} of {}, {} readers)", some.len(), pairs.len());
            judged(what, mean, *percent, &of)
        }
        Expect::Streams { percent } => {
            let some: Vec<&Fetch> =
                series.fetches.iter().filter(|f| f.slow && (f.ok || f.ends_lived)).collect();
            let good = some.iter().filter(|f| f.ok).count();
            let what = format!("{percent} % of the slow downloads whole");
            counted(what, good, some.len(), *percent, "")
        }
        Expect::Recovered { after, percent, within } => {
            let times: Vec<Option<Duration>> = recovered(series, &met.lived, after.0);
            let good = times.iter().flatten().filter(|t| **t <= within.0).count();
            let mut came: Vec<f64> = times.iter().flatten().map(Duration::as_secs_f64).collect();
            came.sort_unstable_by(f64::total_cmp);
            let at = |percent: usize| {
                let last = came.len().saturating_sub(1);
                came.get((came.len() * percent / 100).min(last)).copied().unwrap_or_default()
            };
            let never = times.iter().filter(|t| t.is_none()).count();
            let mut more =
                format!(", half of them after {:.1} s, the last after {:.1} s", at(50), at(100));
            if never > 0 {
                more += &format!(", {never} never");
            }
            let what = format!("{percent} % of the sites answer {within} after {after}");
            counted(what, good, times.len(), *percent, &more)
        }
        Expect::Builds { from, to, percent } => {
            let sum = series.totals(from.0, to.map_or(end, |to| to.0));
            let (good, bad) = (sum.built as usize, sum.not_built() as usize);
            let what = format!("{percent} % of the tunnels built {}", between(from, to));
            counted(what, good, good + bad, *percent, "")
        }
        Expect::Repelled { kind, percent } => {
            let attackers = scenario.adversaries.iter().zip(&met.tried);
            let of_kind =
                attackers.filter(|(a, _)| a.kind == *kind).filter_map(|(_, tried)| *tried);
            let (good, all) =
                of_kind.fold((0, 0), |(good, all), r| (good + r.in_vain, all + r.tried));
            let what = format!("{percent} % of what {kind} tried comes to nothing");
            counted(what, good as usize, all as usize, *percent, "")
        }
        Expect::Clocks { from, to, within } => {
            let until = to.map_or(end, |to| to.0);
            let some = || series.samples.iter().filter(|s| s.at > from.0 && s.at <= until);
            let good = some().filter(|s| s.clock_error <= within.0).count();
            let most = some().map(|s| s.clock_error).max().unwrap_or_default();
            let what = format!("no clock is moved by more than {within} {}", between(from, to));
            counted(
                what,
                good,
                some().count(),
                100.0,
                &format!(", {} ms at most", most.as_millis()),
            )
        }
        Expect::Retransmissions { from, to, percent } => {
            let sum = series.totals(from.0, to.map_or(end, |to| to.0));
            let again = share(sum.again as usize, sum.packets as usize);
            let what = format!("at most {percent} % of the packets again {}", between(from, to));
            let of = format!("({} of {})", sum.again, sum.packets);
            let met = again.is_some_and(|again| again <= *percent);
            Checked { met, ..judged(what, again, 0.0, &of) }
        }
        Expect::Lookups { from, to, percent } => {
            let sum = series.totals(from.0, to.map_or(end, |to| to.0));
            let (good, bad) = (sum.found as usize, sum.not_found as usize);
            let what = format!("{percent} % of the lookups {}", between(from, to));
            counted(what, good, good + bad, *percent, "")
        }
    }
}

/// For each pair that is up in the end: how long after `after` the first page came that was asked for
/// since then.
fn recovered(series: &Series, lived: &[bool], after: Duration) -> Vec<Option<Duration>> {
    let of = |pair: usize| {
        let since = |f: &&Fetch| f.pair == pair && !f.slow && f.ok && f.from >= after;
        let first = series.fetches.iter().filter(since).map(|f| f.to).min();
        first.map(|to| to.saturating_sub(after))
    };
    lived.iter().enumerate().filter(|(_, lived)| **lived).map(|(n, _)| of(n)).collect()
}
