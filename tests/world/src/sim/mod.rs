//! Scenarios: a network, what happens to it, and what must come of it, as data.

pub mod adversary;
mod merge;
mod outcome;
mod report;
mod run;
pub mod scenario;
mod series;
pub mod swarm;
mod text;

pub use merge::{merge, merged_table};
pub use outcome::{Checked, Outcome};
pub use report::html;
pub use scenario::{Scenario, Span};
pub use series::Sample;
pub use text::table;

macro_rules! scenarios {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("../../scenarios/", $name, ".toml")))),*]
    };
}

/// The scenarios that come with it, by name.
pub const SCENARIOS: &[(&str, &str)] = &scenarios![
    "calm" "loss-1" "loss-5" "loss-20" "reorder" "corruption" "peer-lost" "third-killed" "half-killed" "third-killed-i2pd-timeouts" "half-killed-i2pd-timeouts" "parted" "links-down" "clocks-set" "liars" "crashes" "dropping-hops" "useless-sybils" "deaf-floodfills" "sybil-flood" "sybil-ring" "build-flood" "replayed-cells" "syn-flood" "prober" "two-liars" "liar-clocks" "midnight" "frozen" "firewalled" "churn" "ssu2-loss-1" "ssu2-loss-5" "ssu2-loss-20" "ssu2-reorder" "ssu2-corruption" "ssu2-nat" "ssu2-mtu" "ssu2-rebind" "ssu2-flood" "ssu2-forged"
];

/// The one called `name`.
pub fn by_name(name: &str) -> Option<Result<Scenario, String>> {
    let (_, text) = SCENARIOS.iter().find(|(known, _)| *known == name)?;
    Some(Scenario::parse(text))
}

/// Runs a scenario. `progress` is called with each sample and says how many bytes of memory this process
/// has, or 0.
///
/// # Panics
/// When a router breaks what it promises: that is what it is for.
pub fn run(
    scenario: &Scenario,
    seed: u64,
    progress: &mut dyn FnMut(&Sample) -> u64,
) -> Result<Outcome, String> {
    run_with(scenario, seed, &mut [], progress)
}

/// The same, with adversaries of your own.
///
/// # Panics
/// As [`run`].
pub fn run_with(
    scenario: &Scenario,
    seed: u64,
    plug_ins: adversary::PlugIns<'_>,
    progress: &mut dyn FnMut(&Sample) -> u64,
) -> Result<Outcome, String> {
    scenario.check()?;
    Ok(run::Run::new(scenario, seed, plug_ins, progress)?.run())
}
