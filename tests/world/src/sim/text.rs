//! Outcomes for people.

use serde_json::Value;
use std::fmt::Write;

/// The summary of one run.
#[must_use]
pub fn table(run: &Value) -> String {
    let mut text = String::new();
    let number = |path: &str| run.pointer(path).map_or("-".to_owned(), Value::to_string);
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<14} {value}");
    };
    let word = |path: &str| run.pointer(path).and_then(Value::as_str).unwrap_or("").to_owned();
    line("scenario", word("/about"));
    line(
        "network",
        format!(
            "{} routers, {} s of virtual time, seed {}, {} cryptography",
            number("/routers"),
            number("/duration_s"),
            number("/seed"),
            word("/crypto"),
        ),
    );
    line(
        "pages",
        format!(
            "{} ok, {} failed; {} ms median, {} ms p90, {} ms p99",
            number("/pages/ok"),
            number("/pages/failed"),
            number("/pages/p50_ms"),
            number("/pages/p90_ms"),
            number("/pages/p99_ms")
        ),
    );
    line(
        "downloads",
        format!(
            "{} whole, {} broken off",
            number("/slow_downloads/ok"),
            number("/slow_downloads/failed")
        ),
    );
    line(
        "tunnel builds",
        format!(
            "{} ok, {} refused, {} timed out, {} without a path",
            number("/builds/ok"),
            number("/builds/refused"),
            number("/builds/timed_out"),
            number("/builds/no_path")
        ),
    );
    let (ok, failed) = (number("/lookups/ok"), number("/lookups/failed"));
    line("lookups", format!("{ok} ok, {failed} failed"));
    line("connections", number("/connections"));
    if run.get("datagrams").is_some() {
        line(
            "datagrams",
            format!(
                "{} sent, {} arrived, {} lost, {} damaged, {} too large, {} filtered",
                number("/datagrams/sent"),
                number("/datagrams/arrived"),
                number("/datagrams/lost"),
                number("/datagrams/damaged"),
                number("/datagrams/too_large"),
                number("/datagrams/filtered"),
            ),
        );
    }
    line("digest", format!("{} ({} events)", word("/digest"), number("/events")));
    if run.get("machine").is_some() {
        line(
            "took",
            format!(
                "{} s, {} s of processor, {} ms a router and minute, {} MiB",
                number("/machine/wall_s"),
                number("/machine/cpu_s"),
                number("/machine/cpu_ms_per_router_minute"),
                number("/machine/resident_mib")
            ),
        );
    }
    for expect in run.pointer("/expect").and_then(Value::as_array).into_iter().flatten() {
        let met = expect.get("met").and_then(Value::as_bool).unwrap_or(false);
        let part = |name: &str| expect.get(name).and_then(Value::as_str).unwrap_or("");
        let verdict = if met { "met" } else { "MISSED" };
        line(verdict, format!("{}: {}", part("what"), part("measured")));
    }
    text
}
