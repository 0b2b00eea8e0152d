//! Tunnels that carry bytes as they come: a local connection and the I2P stream that it becomes, or
//! an incoming stream and the local connection that it becomes.

use super::buffer::Buffer;
use super::pipe::Pipe;
use super::requests::Requests;
use super::target::{TargetError, parse_authority};
use super::{BUFFER, Consumed, LocalFailure, Request, Slot, StreamInput, Target};
use crate::time::Instant;
use alloc::vec::Vec;
use core::time::Duration;
use log::debug;

/// How long the stream may take to connect; streaming itself gives up earlier.
pub const STREAM_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the local server may take to accept.
pub const LOCAL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a tunnel with one side closed may stand still.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(1800);

/// The only stream of a tunnel.
const SLOT: Slot = Slot::INCOMING;

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

/// One connection of a client tunnel, or one incoming stream of a server tunnel. See [the module's
/// parent](crate::client) for how to drive it; the stream is [`Slot::INCOMING`] in either case.
///
/// What one side sends before the other is there waits in a bounded buffer. For a stream it can be
/// polled at once, to travel with the first packet.
pub struct Tunnel {
    pipe: Pipe,
    requests: Requests,
    local_open: bool,
    stream_open: bool,
    done: bool,
    deadline: Option<Instant>,
}

impl Tunnel {
    /// For a connection that was just accepted, and shall become a stream.
    #[must_use]
    pub fn client(now: Instant, to: Destination) -> Self {
        let Destination { target, port } = to;
        let mut tunnel =
            Self::new(Request::Open { slot: SLOT, target, port }, now + STREAM_TIMEOUT);
        tunnel.local_open = true;
        tunnel
    }

    /// For a stream that was just accepted, and shall become a connection.
    #[must_use]
    pub fn server(now: Instant) -> Self {
        let mut tunnel = Self::new(Request::ConnectLocal, now + LOCAL_TIMEOUT);
        tunnel.stream_open = true;
        tunnel
    }

    fn new(first: Request, deadline: Instant) -> Self {
        let mut requests = Requests::default();
        requests.push(first);
        Self {
            pipe: Pipe::new(SLOT, Buffer::new(BUFFER), Buffer::new(BUFFER)),
            requests,
            local_open: false,
            stream_open: false,
            done: false,
            deadline: Some(deadline),
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

    /// The connect that [`Request::ConnectLocal`] asked for is done.
    pub fn handle_local_connected(&mut self, now: Instant) {
        if !self.done && !core::mem::replace(&mut self.local_open, true) {
            self.deadline = None;
        }
        self.settle(now);
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

    /// The local connection broke, or never came to be.
    pub fn handle_local_failed(&mut self, now: Instant, failure: LocalFailure) {
        debug!("tunnel: local side: {failure}");
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
                debug!("tunnel: stream: {failure}");
                if self.local_open {
                    self.pipe.handle_stream_failed();
                } else {
                    self.end(false);
                }
            }
        }
        self.settle(now);
        taken
    }

    /// The router stops: nothing new is begun. A tunnel under way runs on, since an end that the
    /// two sides did not make would look like theirs; the owner breaks it off when it takes too
    /// long.
    pub fn shut_down(&mut self, now: Instant) {
        if !self.local_open {
            self.end(!self.pipe.is_stream_failed());
        }
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

    /// Appends at most `room` bytes for the local side and says how many; none before it is
    /// connected.
    pub fn poll_local(&mut self, now: Instant, room: usize, out: &mut Vec<u8>) -> usize {
        if self.done || !self.local_open {
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
        if !core::mem::replace(&mut self.stream_open, true) {
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
        // Closes are passed on once there is a local side to pass them to.
        if !self.done && self.local_open {
            self.done = self.pipe.settle(&mut self.requests);
        }
        let stream_known = self.stream_open || self.pipe.is_stream_failed();
        // Every settling of a half-closed tunnel means that something moved.
        self.deadline = if self.done {
            None
        } else if self.pipe.is_half_closed() && self.local_open && stream_known {
            Some(now + STALL_TIMEOUT)
        } else {
            self.deadline
        };
    }
}

#[cfg(test)]
mod tests;
