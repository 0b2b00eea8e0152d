//! Log lines to standard error: `2026-11-23T18:54:27.123Z INFO  target: message`.

use crate::clock;
use log::{Level, LevelFilter, Log, Metadata, Record, SetLoggerError};
use ramson_core::time::UnixTime;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// A level lower than this is never shown of other crates: theirs are not held to our rule that
/// hashes and addresses stay below INFO.
const FOREIGN: LevelFilter = LevelFilter::Warn;

/// The time of a replay in milliseconds; 0 when lines have the time of this machine.
static TIME: AtomicU64 = AtomicU64::new(0);

/// The program's logger.
struct Stderr {
    level: LevelFilter,
}

/// Installs the logger for the whole process.
///
/// # Errors
///
/// When there is one already.
pub fn init(level: LevelFilter) -> Result<(), SetLoggerError> {
    log::set_boxed_logger(Box::new(Stderr { level }))?;
    log::set_max_level(level);
    Ok(())
}

/// From now on lines have this time, in place of this machine's: it is that of a replay.
pub(crate) fn set_time(unix: UnixTime) {
    TIME.store(unix.as_millis(), Ordering::Relaxed);
}

fn time() -> UnixTime {
    match TIME.load(Ordering::Relaxed) {
        0 => clock::unix(),
        ms => UnixTime::from_millis(ms),
    }
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().starts_with("ramson");
        metadata.level() <= if ours { self.level } else { self.level.min(FOREIGN) }
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format_line(time(), record.level(), record.target(), record.args());
            // Nobody is left to be told that the log is gone.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// One line, whole, so that two threads' lines do not mix; control characters of a message (a
/// peer's words may be in it) cannot make a second line or reach a terminal.
fn format_line(
    unix: UnixTime,
    level: Level,
    target: &str,
    message: &std::fmt::Arguments<'_>,
) -> String {
    let [y1, y2, y3, y4, m1, m2, d1, d2] = unix.yyyymmdd().map(char::from);
    let ms = unix.as_millis() % 86_400_000;
    let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    let mut line = String::with_capacity(128);
    // Writing to a String cannot fail.
    let _ = write!(
        line,
        "{y1}{y2}{y3}{y4}-{m1}{m2}-{d1}{d2}T{h:02}:{m:02}:{s:02}.{:03}Z {level:<5} {target}: ",
        ms % 1000
    );
    let start = line.len();
    let _ = line.write_fmt(*message);
    if line.get(start..).is_some_and(|text| text.contains(char::is_control)) {
        line = line
            .chars()
            .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
            .collect();
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_time_level_target_and_message() {
        let t = UnixTime::from_millis(1_735_689_599_042);
        assert_eq!(
            format_line(t, Level::Info, "ramson_core::netdb", &format_args!("hello {}", 3)),
            "2024-12-31T23:59:59.042Z INFO  ramson_core::netdb: hello 3\n"
        );
    }

    #[test]
    fn a_message_cannot_break_out_of_its_line() {
        let line =
            format_line(UnixTime::default(), Level::Warn, "x", &format_args!("a\nb\x1b[2Jc"));
        assert_eq!(line, "1970-01-01T00:00:00.000Z WARN  x: a\u{fffd}b\u{fffd}[2Jc\n");
    }

    #[test]
    fn other_crates_are_quieter_than_ours() {
        let logger = Stderr { level: LevelFilter::Trace };
        let of = |target, level| {
            logger.enabled(&Metadata::builder().target(target).level(level).build())
        };
        assert!(of("ramson_core::tunnel", Level::Trace));
        assert!(!of("mio::poll", Level::Info));
        assert!(of("mio::poll", Level::Warn));
    }
}
