//! One router that relays, seen from outside: CPU time a KiB, memory a tunnel, CPU time a build.
//!
//! The ends are machines of the core in this process, over NTCP2 and TCP; the router in the middle
//! is a process of its own, this project's or (`i2pd`, where it is installed) the other one.
//! `RAMSON_RELAY=PART,PART` measures only what has such a part in its name.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::wildcard_enum_match_arm,
    reason = "a bench fails by panicking, prints, and measures time"
)]

mod between;
mod ends;
mod middle;

use ends::{Ends, Frames};
use middle::{Kind, Middle};
use ramson_tests::i2pd::Transport;
use ramson_tests::namespace;
use std::time::Duration;

/// How long each load is kept up.
const MEASURE: Duration = Duration::from_secs(4);
/// Tunnels for the memory and the builds.
const MANY: usize = 5_000;

struct Load {
    name: &'static str,
    tunnels: usize,
    /// Bytes of cells a second; `None`: as many as the router takes.
    rate: Option<u64>,
    frames: Frames,
}

const LOADS: [Load; 5] = [
    Load {
        name: "3.4 MB/s, 1 cell a frame",
        tunnels: 3,
        rate: Some(3_400_000),
        frames: Frames::Single,
    },
    Load {
        name: "11 MB/s, 1 cell a frame",
        tunnels: 3,
        rate: Some(11_000_000),
        frames: Frames::Single,
    },
    Load { name: "all it takes, 1 cell a frame", tunnels: 8, rate: None, frames: Frames::Single },
    Load { name: "all it takes, 1 tunnel", tunnels: 1, rate: None, frames: Frames::Full },
    Load { name: "all it takes, 8 tunnels", tunnels: 8, rate: None, frames: Frames::Full },
];

fn main() {
    let inside = std::env::var_os(namespace::INSIDE).is_some();
    if !inside && !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let mut addresses = between::addresses();
    addresses.push(ends::SINK_ADDRESS);
    namespace::run("relay", &[], &addresses, || {
        // The arguments are those of a test in here, so that the filter comes another way.
        let text = std::env::var("RAMSON_RELAY").unwrap_or_default();
        let filters: Vec<&str> = text.split(',').collect();
        let wanted = |name: &str| filters.iter().any(|f| name.contains(f));
        println!("{:<44} {:>9} {:>8} {:>8} {:>7}", "", "cells/s", "MB/s", "us/KiB", "lost");
        for kind in [Kind::Ramson, Kind::I2pd] {
            if !kind.is_there() {
                println!("{} is not installed", kind.name());
                continue;
            }
            for load in &LOADS {
                let name = format!("{}: {}", kind.name(), load.name);
                if wanted(&name) {
                    relay(kind, &name, load);
                }
            }
            let name = format!("{}: {MANY} tunnels", kind.name());
            if wanted(&name) {
                tunnels(kind, &name);
            }
            for transport in [Transport::Ntcp2, Transport::Ssu2] {
                let name = format!("{}: between i2pd ends, {transport:?}", kind.name());
                if !wanted(&name) || !Kind::I2pd.is_there() {
                    continue;
                }
                let measured = between::measure(kind, transport);
                println!(
                    "{name:<44} {:>9.0} {:>8.1} {:>8.2}         {:.1} MB/s fetched",
                    measured.bytes_per_second / 1028.0,
                    measured.bytes_per_second / 1e6,
                    measured.micros,
                    measured.fetched_per_second / 1e6
                );
            }
        }
    });
}

fn relay(kind: Kind, name: &str, load: &Load) {
    let ends = Ends::new();
    let middle = Middle::start(kind, ends.sink());
    let mut source = ends.connect(&middle);
    source.build(load.tunnels);
    source.pump(Duration::from_millis(500), load.rate, load.frames);
    let (before, received) = (middle.usage().1, ends.received());
    let start = std::time::Instant::now();
    let sent = source.pump(MEASURE, load.rate, load.frames);
    let got = ends.settled() - received;
    let elapsed = start.elapsed().as_secs_f64();
    let cpu = middle.usage().1 - before;
    let bytes = got as f64 * 1028.0;
    println!(
        "{name:<44} {:>9.0} {:>8.1} {:>8.2} {:>6.2}%",
        got as f64 / elapsed,
        bytes / elapsed / 1e6,
        cpu * 1e6 / (bytes / 1024.0),
        100.0 * (1.0 - got as f64 / sent as f64)
    );
}

fn tunnels(kind: Kind, name: &str) {
    let ends = Ends::new();
    let middle = Middle::start(kind, ends.sink());
    let mut source = ends.connect(&middle);
    source.build(1);
    let (rss, cpu) = middle.usage();
    let built = source.build(MANY);
    let (rss_after, cpu_after) = middle.usage();
    println!(
        "{name:<44} {built} built: {:.0} B a tunnel, {:.1} us CPU a build",
        (rss_after.saturating_sub(rss) * 1024) as f64 / built as f64,
        (cpu_after - cpu) * 1e6 / built as f64
    );
}
