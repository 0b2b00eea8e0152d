//! What a machine wants, in order, and whom it keeps waiting.

use super::{Request, Slot};
use alloc::collections::VecDeque;

/// Requests not polled yet, and the promises to say when there is room again.
///
/// Bounded by construction: a machine asks for a handful of things per input, and `ReadLocal` and
/// `ReadStream` are queued only when someone was paused before.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    queue: VecDeque<Request>,
    local_paused: bool,
    stream_paused: bool,
    closed: bool,
}

impl Requests {
    pub(crate) fn push(&mut self, request: Request) {
        self.queue.push_back(request);
    }

    pub(crate) fn poll(&mut self) -> Option<Request> {
        self.queue.pop_front()
    }

    /// The local side was told to wait.
    pub(crate) const fn pause_local(&mut self) {
        self.local_paused = true;
    }

    /// The stream was told to wait.
    pub(crate) const fn pause_stream(&mut self) {
        self.stream_paused = true;
    }

    pub(crate) const fn is_local_paused(&self) -> bool {
        self.local_paused
    }

    /// There is room for local bytes.
    pub(crate) fn resume_local(&mut self) {
        if core::mem::take(&mut self.local_paused) && !self.closed {
            self.push(Request::ReadLocal);
        }
    }

    /// There is room for bytes of the stream.
    pub(crate) fn resume_stream(&mut self, slot: Slot) {
        if core::mem::take(&mut self.stream_paused) {
            self.push(Request::ReadStream { slot });
        }
    }

    /// The stream that was paused is gone.
    pub(crate) const fn forget_stream(&mut self) {
        self.stream_paused = false;
    }

    /// Asks for the local side to be closed, once.
    pub(crate) fn close_local(&mut self, abort: bool) {
        if !core::mem::replace(&mut self.closed, true) {
            self.push(Request::CloseLocal { abort });
        }
    }

    /// The local side is gone by itself: there is nothing to close.
    pub(crate) const fn local_gone(&mut self) {
        self.closed = true;
    }

    /// The local side is closed, or its closing is asked for.
    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }
}
