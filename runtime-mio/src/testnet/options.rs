//! What the command line says.

use crate::config::{parse_addr, parse_size};
use clap::Args;
use std::net::SocketAddr;
use std::time::Duration;

/// What it is, for its help.
pub(crate) const ABOUT: &str = "\
Run a whole anonymous network in this process, to try it.

Routers on loopback addresses of their own build tunnels of three hops through each other. One
of them hosts http://example.i2p/, another has an HTTP proxy to see it with. Nothing leaves this
machine, and nothing is left behind: the routers have a temporary folder (in $TMPDIR).

It goes on until SIGINT or SIGTERM, or for the time of --for; a second signal stops at once.";

/// Options of `ramson testnet`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// How many routers, 6 to 100
    #[arg(long, value_name = "N", default_value_t = 12)]
    #[arg(value_parser = clap::value_parser!(u8).range(6..=100))]
    pub(super) routers: u8,
    /// Where the HTTP proxy listens; port 0 for any that is free
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4444", value_parser = address)]
    pub(super) proxy: SocketAddr,
    /// Stop after this time, such as 20s, 5m or 1h
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(super) duration: Option<Duration>,
    /// Print one JSON document a line: status, events and results
    #[arg(long)]
    pub(super) json: bool,
    /// Measure downloads of SIZE through the network [10 MiB when not said], then stop
    #[arg(long, value_name = "SIZE", num_args = 0..=1, default_missing_value = "10 MiB")]
    #[arg(value_parser = size)]
    pub(super) bench: Option<u64>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    parse_addr(text).ok_or_else(|| "allowed: an address such as 127.0.0.1:4444".into())
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text)
        .filter(|size| (1..=1 << 40).contains(size))
        .ok_or_else(|| "allowed: a number of bytes, or a text such as \"50 MiB\"".into())
}

/// `90`, `20s`, `1.5 m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end).unwrap_or_default();
    let unit = match unit.trim() {
        "" | "s" | "sec" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => f64::NAN,
    };
    number
        .parse()
        .ok()
        .and_then(|number: f64| Duration::try_from_secs_f64(number * unit).ok())
        .filter(|d| !d.is_zero() && *d <= Duration::from_hours(24 * 365))
        .ok_or_else(|| "allowed: a time such as 20s, 5m or 1h".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Result<Options, String> {
        Line::try_parse_from(["x"].into_iter().chain(line.split_terminator(' ')))
            .map(|line| line.options)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn everything_has_a_default() {
        let want = Options {
            routers: 12,
            proxy: "127.0.0.1:4444".parse().unwrap(),
            duration: None,
            json: false,
            bench: None,
        };
        assert_eq!(parse("").unwrap(), want);
        assert_eq!(parse("--bench").unwrap(), Options { bench: Some(10 << 20), ..want.clone() });
        assert_eq!(
            parse("--bench --json --routers 6").unwrap(),
            Options { bench: Some(10 << 20), json: true, routers: 6, ..want }
        );
    }

    #[test]
    fn values_are_read_and_refused_with_what_is_allowed() {
        let options = parse("--for 1.5m --bench 50MiB --proxy localhost:8118").unwrap();
        assert_eq!(options.duration, Some(Duration::from_secs(90)));
        assert_eq!(options.bench, Some(50 << 20));
        assert_eq!(options.proxy, "127.0.0.1:8118".parse().unwrap());
        for (line, want) in [
            ("--routers 5", "6..=100"),
            ("--routers 101", "6..=100"),
            ("--for soon", "allowed: a time"),
            ("--for 0", "allowed: a time"),
            ("--for 1y", "allowed: a time"),
            ("--for 1.2.3s", "allowed: a time"),
            ("--bench 0", "allowed: a number of bytes"),
            ("--bench much", "allowed: a number of bytes"),
            ("--proxy 4444", "allowed: an address"),
        ] {
            let e = parse(line).unwrap_err();
            assert!(e.contains(want), "{line}: {e}");
        }
    }
}
