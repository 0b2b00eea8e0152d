//! Any of the machines of this module, for an owner that treats them alike.

use super::http_proxy::HttpProxy;
use super::http_server::HttpServer;
use super::tunnel::Tunnel;
use super::{Consumed, LocalFailure, NameAnswer, Request, Slot, StreamInput};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// A machine between one local connection and its I2P streams. See [the module](super) for how to
/// drive it.
pub enum Connection {
    /// Of the HTTP proxy.
    HttpProxy(Box<HttpProxy>),
    /// Of an HTTP server tunnel.
    HttpServer(Box<HttpServer>),
    /// Of a client or server tunnel.
    Tunnel(Box<Tunnel>),
}

/// The same call on whichever machine it is.
macro_rules! each {
    ($self:expr, $m:ident => $call:expr) => {
        match $self {
            Connection::HttpProxy($m) => $call,
            Connection::HttpServer($m) => $call,
            Connection::Tunnel($m) => $call,
        }
    };
}

impl Connection {
    /// Nothing will happen any more, once [`poll_request`](Self::poll_request) is empty.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        each!(self, m => m.is_done())
    }

    /// Bytes of the stream worth offering now. When 0, [`Request::ReadStream`] follows once there
    /// is room.
    #[must_use]
    pub fn stream_room(&mut self, slot: Slot) -> usize {
        each!(self, m => m.stream_room(slot))
    }

    /// Bytes from the local side.
    pub fn handle_local(&mut self, now: Instant, bytes: &[u8]) -> Consumed {
        each!(self, m => m.handle_local(now, bytes))
    }

    /// The connect that [`Request::ConnectLocal`] asked for is done.
    pub fn handle_local_connected(&mut self, now: Instant) {
        match self {
            Self::HttpServer(m) => m.handle_local_connected(now),
            Self::Tunnel(m) => m.handle_local_connected(now),
            Self::HttpProxy(_) => {}
        }
    }

    /// The local side finished sending.
    pub fn handle_local_closed(&mut self, now: Instant) {
        each!(self, m => m.handle_local_closed(now));
    }

    /// The local side broke, or never came to be. Its handle is dead.
    pub fn handle_local_failed(&mut self, now: Instant, failure: LocalFailure) {
        each!(self, m => m.handle_local_failed(now, failure));
    }

    /// What happened on a stream; for `Data`, how many bytes were taken. The owner keeps the rest
    /// and offers it again after [`Request::ReadStream`].
    pub fn handle_stream(&mut self, now: Instant, slot: Slot, input: StreamInput<'_>) -> usize {
        each!(self, m => m.handle_stream(now, slot, input))
    }

    /// The answer to a [`Request::FindName`] or [`Request::LearnName`].
    pub fn handle_name(&mut self, now: Instant, answer: NameAnswer) {
        match self {
            Self::HttpProxy(m) => m.handle_name(now, answer),
            Self::HttpServer(_) | Self::Tunnel(_) => {}
        }
    }

    /// The router stops: nothing new is begun, and what is under way may end by itself.
    pub fn shut_down(&mut self, now: Instant) {
        each!(self, m => m.shut_down(now));
    }

    /// Time passed: the deadline of [`poll_timeout`](Self::poll_timeout), or later.
    pub fn handle_timeout(&mut self, now: Instant) {
        each!(self, m => m.handle_timeout(now));
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll_request(&mut self) -> Option<Request> {
        each!(self, m => m.poll_request())
    }

    /// Appends at most `room` bytes for the stream `slot` and says how many.
    #[must_use]
    pub fn poll_stream(
        &mut self,
        now: Instant,
        slot: Slot,
        room: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        each!(self, m => m.poll_stream(now, slot, room, out))
    }

    /// Appends at most `room` bytes for the local side and says how many.
    #[must_use]
    pub fn poll_local(&mut self, now: Instant, room: usize, out: &mut Vec<u8>) -> usize {
        each!(self, m => m.poll_local(now, room, out))
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        each!(self, m => m.poll_timeout())
    }
}
