//! What a replay says, to people and to scripts.

use super::VERSION;
use super::file::RecordingError;
use super::item::End;
use ramson_core::time::UnixTime;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// What came of a replay.
#[derive(Debug)]
pub(crate) struct Report {
    /// Things that the router was told, its start included.
    pub(super) inputs: u64,
    /// Wall clock at the start.
    pub(super) started: Option<UnixTime>,
    /// From the start to the last call.
    pub(super) span: Duration,
    /// Outcomes that were compared, and how many were the same: all, or all but the last.
    pub(super) compared: u64,
    pub(super) same: u64,
    /// Inputs on which the router panicked, in the recording and now.
    pub(super) panics: Vec<u64>,
    /// The last call, when the recording ends in it, and what came of it now.
    pub(super) unanswered: Option<(String, String)>,
    /// It was recorded by another build.
    pub(super) other_build: bool,
    pub(super) ending: Ending,
}

/// Why it ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// With what the recording says of its end.
    Recorded(End),
    /// Without a word: whoever recorded was killed. Where the file is torn, if it is.
    Killed(Option<u64>),
    /// As far as was asked for.
    Until,
    Different(Difference),
    Damaged(RecordingError),
}

/// The first outcome that was another.
#[derive(Debug)]
pub(super) struct Difference {
    /// The number of the last input, from 1.
    pub(super) input: u64,
    /// What it was.
    pub(super) what: String,
    /// Since the start.
    pub(super) at: Duration,
    /// The call: the input itself, or what was asked for after it.
    pub(super) call: String,
    pub(super) recorded: String,
    pub(super) replayed: String,
}

impl Report {
    /// Whether the router did the same again, as far as it was played.
    pub(crate) const fn is_same(&self) -> bool {
        self.difference().is_none()
    }

    /// What is wrong with the file, if something is.
    pub(crate) const fn damage(&self) -> Option<&RecordingError> {
        if let Ending::Damaged(e) = &self.ending { Some(e) } else { None }
    }

    const fn difference(&self) -> Option<&Difference> {
        if let Ending::Different(d) = &self.ending { Some(d) } else { None }
    }

    /// For people.
    pub(crate) fn to_text(&self) -> String {
        let mut out = String::new();
        let mut line = |key: &str, value: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{key:<13} {value}");
        };
        if let Some(started) = self.started {
            line("recorded", &format!("{} by ramson {VERSION}", date(started)));
        }
        if self.other_build {
            line("", "by another build of it, which may be why outputs differ, if they do");
        }
        line("inputs", &format!("{} in {:.3} s", self.inputs, self.span.as_secs_f64()));
        line("same outputs:", &format!("{} of {}", self.same, self.compared));
        if !self.panics.is_empty() {
            let list: Vec<String> = self.panics.iter().map(u64::to_string).collect();
            line("panics", &format!("on input {}", list.join(", ")));
        }
        if let Some((call, outcome)) = &self.unanswered {
            line("last call", &format!("{call}; not recorded what came of it, now {outcome}"));
        }
        match self.difference() {
            Some(d) => {
                let at = d.at.as_secs_f64();
                line("first other", &format!("input {} at {at:.6} s: {}", d.input, d.what));
                line("  call", &d.call);
                line("  recorded", &d.recorded);
                line("  replayed", &d.replayed);
            }
            None => line("end", &self.ending.to_text()),
        }
        out
    }

    /// One document.
    pub(crate) fn to_json(&self) -> Value {
        let difference = self.difference().map(|d| {
            json!({
                "input": d.input,
                "what": d.what,
                "at_seconds": d.at.as_secs_f64(),
                "call": d.call,
                "recorded": d.recorded,
                "replayed": d.replayed,
            })
        });
        json!({
            "same": self.is_same(),
            "inputs": self.inputs,
            "seconds": self.span.as_secs_f64(),
            "outputs_same": self.same,
            "outputs_compared": self.compared,
            "started_unix_ms": self.started.map(UnixTime::as_millis),
            "program": format!("ramson {VERSION}"),
            "other_build": self.other_build,
            "panics": self.panics,
            "unanswered": self.unanswered.as_ref().map(|(call, now)| json!([call, now])),
            "end": self.ending.name(),
            "damage": self.damage().map(ToString::to_string),
            "difference": difference,
        })
    }
}

impl Ending {
    /// A word for scripts.
    const fn name(&self) -> &'static str {
        match self {
            Self::Recorded(End::Stopped) => "stopped",
            Self::Recorded(End::Limit) => "limit",
            Self::Recorded(End::Slow) => "slow",
            Self::Recorded(End::Unknown) => "unknown",
            Self::Killed(None) => "killed",
            Self::Killed(Some(_)) => "torn",
            Self::Until => "until",
            Self::Different(_) => "different",
            Self::Damaged(_) => "damaged",
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::Recorded(End::Stopped) => "the router stopped".into(),
            Self::Recorded(End::Limit) => "the limit of recordings was reached".into(),
            Self::Recorded(End::Slow) => "the disk was too slow to record more".into(),
            Self::Recorded(End::Unknown) => "something came that cannot be recorded".into(),
            Self::Killed(None) => "none was recorded: the router runs, or was killed".into(),
            Self::Killed(Some(at)) => {
                format!("torn at byte {at}: the router was killed; all before that was played")
            }
            Self::Until => "as far as was asked for".into(),
            Self::Different(_) => "other outputs".into(),
            Self::Damaged(e) => format!("{e}; all before that was played"),
        }
    }
}

/// `2026-11-23 18:54:27 UTC`.
fn date(unix: UnixTime) -> String {
    let [y1, y2, y3, y4, m1, m2, d1, d2] = unix.yyyymmdd().map(char::from);
    let s = unix.as_millis() / 1000 % 86_400;
    let (h, m, s) = (s / 3600, s / 60 % 60, s % 60);
    format!("{y1}{y2}{y3}{y4}-{m1}{m2}-{d1}{d2} {h:02}:{m:02}:{s:02} UTC")
}
