//! The facade: one router, no I/O, no threads, no clock, no ambient randomness.

pub mod input;
pub mod job;
pub mod output;

use crate::config::Config;
use crate::rng::Seed;
use crate::time::{Instant, UnixTime};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use input::{Command, Completion, ConnId, ConnInput, Consumed, Datagram, EffectId, Stored};
use output::{Action, Transmit, Wake};

/// What in the configuration or the stored state keeps the router from starting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error("configuration: {0}")]
    Config(String),
    /// A key file is damaged; it is never replaced silently.
    #[error("keys {name}: {reason}")]
    Keys {
        /// Which keys, as they are persisted.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// The router. After each `handle_*` drain, until all say `None`: [`Self::poll_action`],
/// [`Self::poll_transmit`], [`Self::poll_writable`] with [`Self::poll_conn`]; then arm a timer for
/// [`Self::poll_timeout`].
pub struct Router {
    _config: Arc<Config>,
}

impl Router {
    /// A router with `unix` as the wall clock at `now`.
    pub fn new(
        config: Arc<Config>,
        stored: Stored,
        seed: Seed,
        now: Instant,
        unix: UnixTime,
    ) -> Result<Self, StartError> {
        let _ = (stored, seed, now, unix);
        Ok(Self { _config: config })
    }

    /// A received datagram, or a coalesced train of them.
    pub fn handle_datagram(&mut self, now: Instant, datagram: Datagram<'_>) {
        let _ = (now, datagram);
    }

    /// Something happened on a byte stream.
    pub fn handle_conn(&mut self, now: Instant, conn: ConnId, input: ConnInput<'_>) -> Consumed {
        let _ = (now, conn, input);
        Consumed::default()
    }

    /// An effect finished.
    pub fn handle_completion(&mut self, now: Instant, id: EffectId, completion: Completion) {
        let _ = (now, id, completion);
    }

    /// The embedder wants something.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        let _ = (now, command);
    }

    /// The wall clock was read again: once a minute, and after it stepped.
    pub fn handle_wall_clock(&mut self, now: Instant, unix: UnixTime) {
        let _ = (now, unix);
    }

    /// Time passed: the deadline of [`Self::poll_timeout`], or later.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// Fresh entropy, after a resume or a fork of the machine.
    pub fn mix_entropy(&mut self, seed: Seed) {
        let _ = seed;
    }

    /// The next rare effect.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        None
    }

    /// Appends up to `max_segments` equal datagrams for one remote to `buf`.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        max_segments: usize,
        buf: &mut Vec<u8>,
    ) -> Option<Transmit> {
        let _ = (now, max_segments, buf);
        None
    }

    /// The next stream that has bytes to write, each named once until it has more after it ran dry
    /// or was told `room`. Follow with [`Self::poll_conn`]; a runtime whose socket is full calls
    /// that later, when the socket is writable.
    #[must_use]
    pub fn poll_writable(&mut self) -> Option<ConnId> {
        None
    }

    /// Appends at most `room` bytes for `conn` to `buf` and says how many; 0 when there is nothing
    /// to write. Frames and encrypts only now, so that priorities hold until the last moment.
    pub fn poll_conn(
        &mut self,
        now: Instant,
        conn: ConnId,
        room: usize,
        buf: &mut Vec<u8>,
    ) -> usize {
        let _ = (now, conn, room, buf);
        0
    }

    /// When to call [`Self::handle_timeout`] at the latest, and why. `None`: nothing pending.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Wake)> {
        None
    }
}

const fn assert_send<T: Send + 'static>() {}
const _: () = {
    assert_send::<Router>();
    assert_send::<job::Job>();
    assert_send::<job::Done>();
};
