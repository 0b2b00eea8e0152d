//! Logs of simulated routers: on stderr when `RAMSON_WORLD_LOG` names a level, with virtual time
//! and the number of the node. An ERROR is a bug of ours and fails the run, and so does whoever names
//! routers, destinations or addresses in an ordinary log.

use crate::shadow;
use log::{Level, LevelFilter, Log, Metadata, Record};
use ramson_core::time::Instant;
use std::cell::{Cell, RefCell};
use std::sync::{Once, OnceLock};

struct Journal;

static SHOWN: OnceLock<LevelFilter> = OnceLock::new();

thread_local! {
    // A world lives on one thread; tests run several at once.
    static AT: Cell<(u64, Option<usize>)> = const { Cell::new((0, None)) };
    static ERROR: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Starts it, once a process.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let level = std::env::var("RAMSON_WORLD_LOG").ok().and_then(|v| v.parse().ok());
        if log::set_logger(&Journal).is_ok() {
            SHOWN.set(level.unwrap_or(LevelFilter::Error)).expect("once");
            log::set_max_level(level.unwrap_or(LevelFilter::Error).max(LevelFilter::Info));
        }
    });
}

/// What follows happens at this node.
pub(super) fn set(now: Instant, node: Option<usize>) {
    AT.set((now.as_micros(), node));
}

/// The last ERROR since the last call.
pub(crate) fn take_error() -> Option<String> {
    ERROR.take()
}

impl Log for Journal {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if record.target() == shadow::TARGET {
            if let Some(wrong) = shadow::note(&record.args().to_string()) {
                ERROR.set(Some(wrong));
            }
            return;
        }
        let shown = SHOWN.get().copied().unwrap_or(LevelFilter::Trace);
        if record.level() > shown.max(LevelFilter::Info) {
            // Whoever watches the shadow lets everything through.
            return;
        }
        let (micros, node) = AT.get();
        let node = node.map_or_else(String::new, |n| n.to_string());
        let (level, target, text) = (record.level(), record.target(), record.args());
        let target = target.trim_start_matches("ramson_core::");
        let seconds = micros / 1_000_000;
        let line =
            format!("{seconds}.{:06} {node:>2} {level} {target}: {text}", micros % 1_000_000);
        if level <= shown {
            eprintln!("{line}");
        }
        if level == Level::Error || (level <= Level::Info && tells_too_much(&line)) {
            ERROR.set(Some(line));
        }
    }

    fn flush(&self) {}
}

/// Hashes as they are written for people, addresses of other nodes, and destinations, our own
/// too.
fn tells_too_much(line: &str) -> bool {
    let hex = |word: &str| word.len() == 8 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let long = |word: &str| word.len() >= 40 || hex(word);
    let words = || line.split([' ', ',', ':', '(', ')']);
    line.contains(".b32.i2p")
        || words().any(long)
        || words().any(|word| word.ends_with(".0.1") && word != "127.0.0.1")
}
