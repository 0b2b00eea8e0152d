//! What the command line says.

use clap::{Args, Subcommand};
use ramson_world::sim::Span;
use std::path::PathBuf;

/// What it is, for its help.
pub(crate) const ABOUT: &str = "\
Simulate a network of whole routers in virtual time, with every fault that the scenario names.

The routers are real, the network between them is not: nothing leaves this process, and the same
seed gives the same run, byte for byte, on every machine. A scenario is a name (see --list) or a
TOML file; docs/simulator.md says how to write one.";

/// Options of `ramson sim`.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(super) verb: Option<Verb>,
    /// The scenario: a name, or a TOML file
    #[arg(long, value_name = "NAME|FILE", default_value = "calm")]
    pub(super) scenario: String,
    /// How many routers, 5 to 17000 [what the scenario says]
    #[arg(long, value_name = "N")]
    pub(super) routers: Option<usize>,
    /// Virtual time, such as 90s, 30m or 1h [what the scenario says]
    #[arg(long, value_name = "DURATION")]
    pub(super) duration: Option<Span>,
    /// What everything random depends on
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(super) seed: u64,
    /// Many seeds, each in a process of its own, as many at once as there are processors
    #[arg(long, value_name = "FIRST..LAST", value_parser = seeds, conflicts_with = "seed")]
    pub(super) seeds: Option<(u64, u64)>,
    /// Write report.html and report.json there
    #[arg(long, value_name = "DIR")]
    pub(super) report: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    pub(super) json: bool,
    /// Show the scenarios that come with the program
    #[arg(long, exclusive = true)]
    pub(super) list: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Verb {
    /// Join the report.json of many runs of one scenario: what was met how often, and the spread
    Merge {
        /// The files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
}

/// `1..20`, both ends included.
fn seeds(text: &str) -> Result<(u64, u64), String> {
    let bad = || "allowed: two seeds such as 1..20".to_owned();
    let (first, last) = text.split_once("..").ok_or_else(bad)?;
    let last = last.strip_prefix('=').unwrap_or(last);
    let first: u64 = first.trim().parse().map_err(|_| bad())?;
    let last: u64 = last.trim().parse().map_err(|_| bad())?;
    // More processes than anybody waits for is a slip of the finger.
    let many = last.checked_sub(first).ok_or_else(bad)?;
    if many >= 10_000 {
        return Err("at most 10000 seeds".to_owned());
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_two_numbers_in_order() {
        assert_eq!(seeds("1..20"), Ok((1, 20)));
        assert_eq!(seeds("7..=7"), Ok((7, 7)));
        for bad in ["", "1", "1..", "..2", "2..1", "a..b", "1..10001"] {
            assert!(seeds(bad).is_err(), "{bad}");
        }
    }
}
