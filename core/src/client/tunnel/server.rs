//! A server tunnel: an incoming I2P stream and the local connection that it becomes.

use crate::client::buffer::Buffer;
use crate::client::pipe::Pipe;
use crate::client::requests::Requests;
use crate::client::{BUFFER, Consumed, LocalFailure, Request, Slot, StreamInput};
use crate::time::Instant;
use alloc::vec::Vec;
use core::time::Duration;
use log::debug;

/// How long the local server may take to accept.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a tunnel with one side closed may stand still.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(1800);

const SLOT: Slot = Slot::INCOMING;

/// One incoming stream of a server tunnel. See [the module's parent](crate::client) for how to
/// drive it; its stream is [`Slot::INCOMING`] and open from the start.
pub struct TunnelServer {
    pipe: Pipe,
    requests: Requests,
    connected: bool,
    done: bool,
    deadline: Option<Instant>,
}

impl TunnelServer {
    /// For a stream that was just accepted.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let mut requests = Requests::default();
        requests.push(Request::ConnectLocal);
        Self {
            pipe: Pipe::new(SLOT, Buffer::new(BUFFER), Buffer::new(BUFFER)),
            requests,
            connected: false,
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

    /// The connect that [`Request::ConnectLocal`] asked for is done.
    pub fn handle_local_connected(&mut self, now: Instant) {
        if !self.done && !core::mem::replace(&mut self.connected, true) {
            self.deadline = None;
        }
        self.settle(now);
    }

    /// Bytes from the local server.
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

    /// The local server finished sending.
    pub fn handle_local_closed(&mut self, now: Instant) {
        self.pipe.handle_local_closed();
        self.settle(now);
    }

    /// The local connection broke, or never came to be.
    pub fn handle_local_failed(&mut self, now: Instant, failure: LocalFailure) {
        debug!("server tunnel: local side: {failure}");
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
            StreamInput::Opened => {}
            StreamInput::Data(bytes) => {
                taken = self.pipe.handle_stream(bytes);
                if taken < bytes.len() {
                    self.requests.pause_stream();
                }
            }
            StreamInput::RemoteClosed => self.pipe.handle_stream_closed(),
            StreamInput::Failed(failure) => {
                debug!("server tunnel: stream: {failure}");
                if self.connected {
                    self.pipe.handle_stream_failed();
                } else {
                    self.end(false);
                }
            }
        }
        self.settle(now);
        taken
    }

    /// The router stops: nothing new is begun, and what is under way may end soon.
    pub fn shut_down(&mut self, now: Instant) {
        if self.connected {
            self.pipe.shut_down();
        } else {
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

    /// Appends at most `room` bytes for the local server and says how many; none before it is
    /// connected.
    pub fn poll_local(&mut self, now: Instant, room: usize, out: &mut Vec<u8>) -> usize {
        if self.done || !self.connected {
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
        if !self.done && self.connected {
            self.done = self.pipe.settle(&mut self.requests);
        }
        self.deadline = if self.done {
            None
        } else if self.connected && self.pipe.is_half_closed() {
            Some(now + STALL_TIMEOUT)
        } else {
            self.deadline
        };
    }
}
