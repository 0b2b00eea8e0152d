//! Logs of simulated routers: on stderr when `RAMSON_WORLD_LOG` names a level, with virtual time
//! and the number of the node. An ERROR is a bug of ours and fails the run.

use log::{Level, LevelFilter, Log, Metadata, Record};
use ramson_core::time::Instant;
use std::cell::{Cell, RefCell};
use std::sync::Once;

struct Journal;

thread_local! {
    // A world lives on one thread; tests run several at once.
    static AT: Cell<(u64, Option<usize>)> = const { Cell::new((0, None)) };
    static ERROR: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Starts it, once a process.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let level = std::env::var("RAMSON_WORLD_LOG").ok().and_then(|v| v.parse().ok());
        if log::set_logger(&Journal).is_ok() {
            log::set_max_level(level.unwrap_or(LevelFilter::Error));
        }
    });
}

/// What follows happens at this node.
pub(super) fn set(now: Instant, node: Option<usize>) {
    AT.set((now.as_micros(), node));
}

/// The last ERROR since the last call.
pub(super) fn take_error() -> Option<String> {
    ERROR.take()
}

impl Log for Journal {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let (micros, node) = AT.get();
        let node = node.map_or_else(String::new, |n| n.to_string());
        let (level, target, text) = (record.level(), record.target(), record.args());
        let target = target.trim_start_matches("ramson_core::");
        let seconds = micros / 1_000_000;
        let line =
            format!("{seconds}.{:06} {node:>2} {level} {target}: {text}", micros % 1_000_000);
        eprintln!("{line}");
        if level == Level::Error {
            ERROR.set(Some(line));
        }
    }

    fn flush(&self) {}
}
