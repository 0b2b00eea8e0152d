//! Two byte streams joined, each direction closed on its own.

use super::buffer::Buffer;
use super::requests::Requests;
use super::{Request, Slot};
use alloc::vec::Vec;

/// Bytes both ways between the local side and one I2P stream.
#[derive(Debug)]
pub(crate) struct Pipe {
    slot: Slot,
    to_stream: Buffer,
    to_local: Buffer,
    local: End,
    stream: End,
}

/// What is known of one side.
#[derive(Debug, Default)]
struct End {
    /// It sends no more.
    closed: bool,
    /// It broke, nothing can be sent to it.
    failed: bool,
    /// It was told that nothing follows.
    finished: bool,
}

impl Pipe {
    /// With bytes that wait already.
    pub(crate) fn new(slot: Slot, to_stream: Buffer, to_local: Buffer) -> Self {
        Self { slot, to_stream, to_local, local: End::default(), stream: End::default() }
    }

    pub(crate) fn handle_local(&mut self, bytes: &[u8]) -> usize {
        if self.stream.failed || self.stream.finished || self.local.closed {
            return bytes.len();
        }
        self.to_stream.push(bytes)
    }

    pub(crate) fn handle_stream(&mut self, bytes: &[u8]) -> usize {
        if self.local.finished || self.stream.closed {
            return bytes.len();
        }
        self.to_local.push(bytes)
    }

    pub(crate) const fn handle_local_closed(&mut self) {
        self.local.closed = true;
    }

    pub(crate) const fn handle_stream_closed(&mut self) {
        self.stream.closed = true;
    }

    pub(crate) fn handle_stream_failed(&mut self) {
        self.stream.failed = true;
        self.to_stream.clear();
    }

    /// Bytes of the stream worth offering now: 0, or much.
    pub(crate) const fn stream_room(&self) -> usize {
        self.to_local.room()
    }

    pub(crate) const fn local_room(&self) -> usize {
        if self.stream.failed { usize::MAX } else { self.to_stream.free() }
    }

    /// The stream broke: its slot is dead.
    pub(crate) const fn is_stream_failed(&self) -> bool {
        self.stream.failed
    }

    /// One side has finished sending, the other has not.
    pub(crate) const fn is_half_closed(&self) -> bool {
        self.local.closed || self.stream.closed || self.stream.failed
    }

    pub(crate) fn poll_stream(&mut self, room: usize, out: &mut Vec<u8>) -> usize {
        self.to_stream.take(room, out)
    }

    pub(crate) fn poll_local(&mut self, room: usize, out: &mut Vec<u8>) -> usize {
        self.to_local.take(room, out)
    }

    /// Passes closes on once what came before them is gone, and wakes who can go on. True when the
    /// pipe is done; the stream and the local side are closed then.
    pub(crate) fn settle(&mut self, requests: &mut Requests) -> bool {
        let slot = self.slot;
        if self.stream.failed {
            if self.to_local.is_empty() {
                requests.close_local(true);
                return true;
            }
            return false;
        }
        let finish_stream = self.local.closed && self.to_stream.is_empty();
        let finish_local = self.stream.closed && self.to_local.is_empty();
        if finish_stream && finish_local {
            requests.push(Request::CloseStream { slot });
            requests.close_local(false);
            return true;
        }
        if finish_stream && !self.stream.finished {
            self.stream.finished = true;
            requests.push(Request::FinishStream { slot });
        }
        if finish_local && !self.local.finished {
            self.local.finished = true;
            requests.push(Request::FinishLocal);
        }
        if self.to_stream.is_roomy() {
            requests.resume_local();
        }
        if self.to_local.is_roomy() {
            requests.resume_stream(slot);
        }
        false
    }
}
