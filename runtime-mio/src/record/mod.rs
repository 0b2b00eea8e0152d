//! Recordings of a router, to look at a bug that happened once.
//!
//! The router is deterministic: it does what it is told, and asks nobody. [`Recorded`] stands between
//! the loop and the router and writes down each call, when it was made, and what came of it;
//! [`replay`] makes the same calls again on a router that starts from the same, and says where the
//! outcomes first differ. Inputs are recorded before the router hears of them, so that the one it
//! panicked on, or hung in, is there. Outputs are recorded as digests, or as text where there are few.
//! The results of jobs are not recorded: a job is pure, and the replay runs it again.
//!
//! **A recording holds everything**: the router's private keys, the seed of its randomness and so the
//! keys of all its sessions, and what its user did. It is for its owner only, and made on demand only.
//!
//! # Why a recording is one run of the router, from its start
//!
//! A router has no snapshot from which a replay could begin, so a recording without its first input is
//! of no use, and a ring that overwrites the oldest inputs would be none. Two bounds follow from that:
//!
//! - The recording of a run ends, with a warning, when it has half of the limit. Nothing of it is given
//!   up: it plays from the start to there. The router is not concerned.
//! - The ring is one of runs: each start begins a file of its own, and while that grows the oldest
//!   files are removed, so that all together never have more than the limit. The half keeps room for the
//!   run before: a router that crashed is started again by whoever watches over it, and the recording of
//!   the crash is still there, however long it runs then.
//!
//! A disk that is full, or too slow for longer than 16 MiB of memory can bridge, ends a recording too.
//!
//! # Which program plays it
//!
//! The same version with the same keys of the configuration; others are refused. A program that was
//! built anew, with more log lines for instance, may play it, and is said to be another one.

mod call;
mod codec;
mod file;
mod folder;
mod item;
mod recorder;
mod replay;
mod report;
mod start;
mod writer;

pub(crate) use file::RecordingError;
pub(crate) use replay::play;
pub(crate) use start::Start;

use crate::config::Settings;
use crate::machine::Machine;
use item::{Call, Input, Outcome};
use log::warn;
use ramson_core::crypto::siphash::siphash24;
use ramson_core::rng::Seed;
use ramson_core::router::input::{
    Command, Completion, ConnId, ConnInput, Consumed, Datagram, EffectId,
};
use ramson_core::router::output::{Action, Transmit};
use ramson_core::time::{Instant, UnixTime};
use recorder::Recorder;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

/// The version of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Bytes of a text in a recording. None is as long; a longer one is cut.
const MAX_TEXT: usize = 1024;

/// A machine, and what records its calls, if something does.
pub(crate) struct Recorded<M> {
    machine: M,
    recorder: Option<Recorder>,
}

/// A recording that begins with the making of its machine.
pub(crate) struct Recording(Option<Recorder>);

impl Recording {
    /// None.
    pub(crate) const fn off() -> Self {
        Self(None)
    }

    /// Begins one in the data folder `data`. A router for want of a recording is better than none.
    pub(crate) fn begin(data: &Path, limit: u64, start: &Start<'_>) -> Self {
        match Recorder::start(data, limit, start) {
            Ok(recorder) => {
                let path = recorder.path().display();
                warn!("recording to {path}: with the private keys and all traffic of this router");
                Self(Some(recorder))
            }
            Err(e) => {
                warn!("{}: not recorded: {e}", data.join(folder::FOLDER).display());
                Self(None)
            }
        }
    }

    /// Records what came of the start.
    pub(crate) fn around<M: Machine, E: ToString>(
        self,
        machine: Result<M, E>,
        hash: impl FnOnce(&M) -> [u8; 32],
    ) -> Result<Recorded<M>, E> {
        if let Some(recorder) = &self.0 {
            recorder.outcome(started(&machine, hash));
        }
        Ok(Recorded { machine: machine?, recorder: self.0 })
    }
}

fn started<M, E: ToString>(machine: &Result<M, E>, hash: impl FnOnce(&M) -> [u8; 32]) -> Outcome {
    match machine {
        Ok(machine) => Outcome::Started(hash(machine)),
        Err(e) => Outcome::Refused(shortened(e.to_string())),
    }
}

/// A digest of the format of the configuration: it has all keys.
fn config_format() -> u64 {
    digest(Settings::default().to_toml().as_bytes())
}

/// Tells two outputs apart, whoever made them; no defence against anybody.
fn digest(bytes: &[u8]) -> u64 {
    siphash24(0, 0, bytes)
}

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}

/// An action as text. Equal texts are equal actions; of bytes there is a digest, for they may be keys.
fn action_text(action: &Action) -> String {
    let text = if let Action::Persist { key, value: Some(value) } = action {
        format!("Persist {{ key: {key:?}, value: {} }}", bytes_text(value))
    } else {
        format!("{action:?}")
    };
    shortened(text)
}

fn bytes_text(bytes: &[u8]) -> String {
    format!("{} bytes with digest {:016x}", bytes.len(), digest(bytes))
}

/// What was appended to a buffer that had `before` bytes.
fn appended(buf: &[u8], before: usize) -> &[u8] {
    buf.get(before..).unwrap_or_default()
}

impl<M: Machine> Recorded<M> {
    /// Records a call that is about to be made; whether its outcome is wanted.
    fn before(&self, call: impl FnOnce() -> Call<'static>) -> bool {
        self.recorder.as_ref().is_some_and(|recorder| recorder.call(call()))
    }

    /// Makes the call, and records a panic.
    fn run<R>(&mut self, f: impl FnOnce(&mut M) -> R) -> R {
        let result = catch_unwind(AssertUnwindSafe(|| f(&mut self.machine)));
        result.unwrap_or_else(|panic| {
            self.after(Outcome::Panicked);
            resume_unwind(panic)
        })
    }

    fn after(&self, outcome: Outcome) {
        if let Some(recorder) = &self.recorder {
            recorder.outcome(outcome);
        }
    }

    /// Something comes that a recording cannot say.
    fn give_up(&self) {
        if let Some(recorder) = &self.recorder {
            recorder.give_up();
        }
    }

    /// A call that gives nothing.
    fn tell(&mut self, call: impl FnOnce() -> Call<'static>, f: impl FnOnce(&mut M)) {
        if self.before(call) {
            self.run(f);
            self.after(Outcome::Done);
        } else {
            f(&mut self.machine);
        }
    }
}

impl<M: Machine> Machine for Recorded<M> {
    fn handle_datagram(&mut self, now: Instant, datagram: Datagram<'_>) {
        // Before the router decrypts the bytes in place.
        let recorded = self.recorder.as_ref().is_some_and(|recorder| {
            let Datagram { socket, remote, payload, segment } = &datagram;
            recorder.call(Call::Datagram {
                now,
                socket: socket.0,
                remote: *remote,
                segment: segment.unwrap_or(0),
                bytes: payload,
            })
        });
        if !recorded {
            return self.machine.handle_datagram(now, datagram);
        }
        self.run(|m| m.handle_datagram(now, datagram));
        self.after(Outcome::Done);
    }

    fn handle_conn(&mut self, now: Instant, conn: ConnId, input: ConnInput<'_>) -> Consumed {
        // Before the router decrypts the bytes in place.
        let recorded = self.recorder.as_ref().is_some_and(|recorder| {
            recorder.call(Call::Conn { now, conn: conn.as_u64(), input: Input::of(&input) })
        });
        if !recorded {
            return self.machine.handle_conn(now, conn, input);
        }
        let consumed = self.run(|m| m.handle_conn(now, conn, input));
        let Consumed { taken, pause } = consumed;
        self.after(Outcome::Consumed { taken, pause });
        consumed
    }

    fn handle_completion(&mut self, now: Instant, id: EffectId, completion: Completion) {
        let id_number = id.as_u64();
        let call = match completion {
            Completion::Job(_) => Call::JobDone { now, id: id_number },
            Completion::JobFailed => Call::JobFailed { now, id: id_number },
            other => {
                self.give_up();
                return self.machine.handle_completion(now, id, other);
            }
        };
        self.tell(|| call, |m| m.handle_completion(now, id, completion));
    }

    fn handle_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Shutdown => {
                self.tell(|| Call::Shutdown { now }, |m| m.handle_command(now, command));
            }
            other => {
                self.give_up();
                self.machine.handle_command(now, other);
            }
        }
    }

    fn handle_wall_clock(&mut self, now: Instant, unix: UnixTime) {
        self.tell(|| Call::WallClock { now, unix }, |m| m.handle_wall_clock(now, unix));
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.tell(|| Call::Timeout { now }, |m| m.handle_timeout(now));
    }

    fn mix_entropy(&mut self, seed: Seed) {
        let recorded = self
            .recorder
            .as_ref()
            .is_some_and(|recorder| recorder.call(Call::Entropy { seed: seed.as_bytes() }));
        if recorded {
            self.run(|m| m.mix_entropy(seed));
            self.after(Outcome::Done);
        } else {
            self.machine.mix_entropy(seed);
        }
    }

    fn poll_action(&mut self) -> Option<Action> {
        if !self.before(|| Call::PollAction) {
            return self.machine.poll_action();
        }
        let action = self.run(M::poll_action);
        self.after(Outcome::Action(action.as_ref().map(action_text)));
        action
    }

    fn poll_transmit(&mut self, now: Instant, max: usize, buf: &mut Vec<u8>) -> Option<Transmit> {
        if !self.before(|| Call::PollTransmit { now, max }) {
            return self.machine.poll_transmit(now, max, buf);
        }
        let start = buf.len();
        let transmit = self.run(|m| m.poll_transmit(now, max, buf));
        self.after(Outcome::Transmit(
            transmit.as_ref().map(|transmit| transmit_text(transmit, appended(buf, start))),
        ));
        transmit
    }

    fn poll_writable(&mut self) -> Option<ConnId> {
        if !self.before(|| Call::PollWritable) {
            return self.machine.poll_writable();
        }
        let conn = self.run(M::poll_writable);
        self.after(Outcome::Writable(conn.map(ConnId::as_u64)));
        conn
    }

    fn poll_conn(&mut self, now: Instant, conn: ConnId, room: usize, buf: &mut Vec<u8>) -> usize {
        if !self.before(|| Call::PollConn { now, conn: conn.as_u64(), room }) {
            return self.machine.poll_conn(now, conn, room, buf);
        }
        let start = buf.len();
        let len = self.run(|m| m.poll_conn(now, conn, room, buf));
        self.after(Outcome::Written { len, digest: digest(appended(buf, start)) });
        len
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let recorded = self.before(|| Call::PollTimeout);
        let at = self.machine.poll_timeout();
        if recorded {
            self.after(Outcome::Timeout(at));
        }
        at
    }
}

fn transmit_text(transmit: &Transmit, bytes: &[u8]) -> String {
    shortened(format!("{transmit:?} {}", bytes_text(bytes)))
}

#[cfg(test)]
mod tests;
