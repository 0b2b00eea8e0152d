//! A client tunnel: a local connection and the I2P stream that it becomes.

use crate::client::buffer::Buffer;
use crate::client::pipe::Pipe;
use crate::client::requests::Requests;
use crate::client::target::{TargetError, parse_authority};
use crate::client::{BUFFER, Consumed, LocalFailure, Request, Slot, StreamInput, Target};
use crate::time::Instant;
use alloc::vec::Vec;
use core::time::Duration;
use log::debug;

/// How long the stream may take to connect; streaming itself gives up earlier.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a tunnel with one side closed may stand still.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(1800);

const SLOT: Slot = Slot(0);

/// Where a client tunnel leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Whom to connect to.
    pub target: Target,
    /// The I2P port; 0 when none was given.
    pub port: u16,
}

impl Destination {
    /// Reads `host`, `host:port`, or a base64 destination with an optional port.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let (target, port) = parse_authority(text)?;
        Ok(Self { target, port: port.unwrap_or(0) })
    }
}

/// One connection of a client tunnel. See [the module's parent](crate::client) for how to drive
/// it.
///
/// What the local side sends before the stream is open waits in a bounded buffer, and can be
/// polled at once to travel with the first packet.
pub struct TunnelClient {
    pipe: Pipe,
    requests: Requests,
    opened: bool,
    done: bool,
    deadline: Option<Instant>,
}

impl TunnelClient {
    /// For a connection that was just accepted.
    #[must_use]
    pub fn new(now: Instant, to: Destination) -> Self {
        let mut requests = Requests::default();
        requests.push(Request::Open { slot: SLOT, target: to.target, port: to.port });
        Self {
            pipe: Pipe::new(SLOT, Buffer::new(BUFFER), Buffer::new(BUFFER)),
            requests,
            opened: false,
            done: false,
            deadline: Some(now + CONNECT_TIMEOUT),
        }
    }

    /// Nothing will happen any more, once `poll_request` is empty.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// Bytes of the stream worth offering now. When 0, [`Request::ReadStream`] follows once there
    /// is room.
    #[must_use]
    pub fn stream_room(&mut self, slot: Slot) -> usize {
        if slot != SLOT || self.done {
            return 0;
        }
        let room = self.pipe.stream_room();
        if room == 0 {
            self.requests.pause_stream();
        }
        room
    }

    /// Bytes from the local side.
    pub fn handle_local(&mut self, now: Instant, bytes: &[u8]) -> Consumed {
        if self.done {
            return Consumed { taken: bytes.len(), pause: false };
        }
        let taken = self.pipe.handle_local(bytes);
        let pause = taken < bytes.len() || self.pipe.local_room() == 0;
        if pause {
            self.requests.pause_local();
        }
        self.settle(now);
        Consumed { taken, pause }
    }

    /// The local side finished sending.
    pub fn handle_local_closed(&mut self, now: Instant) {
        self.pipe.handle_local_closed();
        self.settle(now);
    }

    /// The local connection broke.
    pub fn handle_local_failed(&mut self, now: Instant, _failure: LocalFailure) {
        self.requests.local_gone();
        self.end(!self.pipe.is_stream_failed());
        self.settle(now);
    }

    /// What happened on the stream; for `Data`, how many bytes were taken.
    pub fn handle_stream(&mut self, now: Instant, slot: Slot, input: StreamInput<'_>) -> usize {
        let mut taken = 0;
        match input {
            StreamInput::Data(bytes) if slot != SLOT || self.done => return bytes.len(),
            _ if slot != SLOT || self.done => return 0,
            StreamInput::Opened => self.open(),
            StreamInput::Data(bytes) => {
                self.open();
                taken = self.pipe.handle_stream(bytes);
                if taken < bytes.len() {
                    self.requests.pause_stream();
                }
            }
            StreamInput::RemoteClosed => {
                self.open();
                self.pipe.handle_stream_closed();
            }
            StreamInput::Failed(failure) => {
                debug!("client tunnel: {failure}");
                self.pipe.handle_stream_failed();
            }
        }
        self.settle(now);
        taken
    }

    /// The router stops: nothing new is begun, and what is under way may end soon.
    pub fn shut_down(&mut self, now: Instant) {
        self.pipe.shut_down();
        self.settle(now);
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|at| at <= now) {
            self.end(!self.pipe.is_stream_failed());
        }
        self.settle(now);
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll_request(&mut self) -> Option<Request> {
        self.requests.poll()
    }

    /// Appends at most `room` bytes for the stream and says how many.
    pub fn poll_stream(
        &mut self,
        now: Instant,
        slot: Slot,
        room: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        if slot != SLOT || self.done {
            return 0;
        }
        let n = self.pipe.poll_stream(room, out);
        if n > 0 {
            self.settle(now);
        }
        n
    }

    /// Appends at most `room` bytes for the local side and says how many.
    pub fn poll_local(&mut self, now: Instant, room: usize, out: &mut Vec<u8>) -> usize {
        if self.done {
            return 0;
        }
        let n = self.pipe.poll_local(room, out);
        if n > 0 {
            self.settle(now);
        }
        n
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    fn open(&mut self) {
        if !core::mem::replace(&mut self.opened, true) {
            self.deadline = None;
        }
    }

    /// Breaks both sides off.
    fn end(&mut self, reset: bool) {
        if core::mem::replace(&mut self.done, true) {
            return;
        }
        if reset {
            self.requests.push(Request::ResetStream { slot: SLOT });
        }
        self.requests.close_local(true);
    }

    fn settle(&mut self, now: Instant) {
        if !self.done {
            self.done = self.pipe.settle(&mut self.requests);
        }
        // Every settling of a half-closed tunnel means that something moved.
        self.deadline = if self.done {
            None
        } else if self.pipe.is_half_closed() && (self.opened || self.pipe.is_stream_failed()) {
            Some(now + STALL_TIMEOUT)
        } else {
            self.deadline
        };
    }
}
