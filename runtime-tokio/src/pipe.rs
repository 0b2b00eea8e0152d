//! The place where a stream's user and the router meet: two buffers, and who waits for them.
//!
//! Neither waits for the other under the lock: the user never for cryptography, the router never for
//! the user.

use crate::request::Request;
use ramson_core::client::Failure;
use ramson_core::router::Router;
use ramson_core::router::embed::{DestinationId, StreamHandle};
use ramson_core::time::Instant;
use ramson_core::wire::identity::Identity;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::ReadBuf;
use tokio::sync::mpsc;

/// Bytes that wait in a pipe, each way. What is behind them waits in the router's own buffers.
const CAPACITY: usize = 64 * 1024;

/// One stream between its user and the router.
pub(crate) struct Pipe {
    destination: DestinationId,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    handle: Option<StreamHandle>,
    remote: Option<Identity>,
    connected: bool,
    /// What came, from `taken` on not taken yet.
    incoming: Vec<u8>,
    taken: usize,
    /// The router has more, or may have.
    full: bool,
    remote_closed: bool,
    outgoing: Vec<u8>,
    /// The user writes no more; and the router knows.
    finish: bool,
    finished: bool,
    over: Option<Result<(), Failure>>,
    /// Somebody accepted it. One that nobody did, and that has failed, is of no use to anybody.
    accepted: bool,
    /// The user is gone.
    left: bool,
    /// The driver is to look at it, and was told so.
    touched: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl State {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    fn unread(&self) -> usize {
        self.incoming.len() - self.taken
    }

    /// Room to read into: what was taken goes first, or the buffer of a reader that is always a little
    /// behind would grow as long as its stream.
    fn room(&mut self) -> usize {
        self.incoming.drain(..self.taken);
        self.taken = 0;
        CAPACITY.saturating_sub(self.incoming.len())
    }
}

/// The user's side.
impl Pipe {
    /// For a stream of this destination.
    pub(crate) fn new(destination: DestinationId) -> Self {
        Self { destination, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(self: &Arc<Self>, state: &mut State, requests: &mpsc::UnboundedSender<Request>) {
        if !std::mem::replace(&mut state.touched, true) {
            let _stopped = requests.send(Request::Touched(self.clone()));
        }
    }

    pub(crate) fn poll_connected(&self, cx: &Context<'_>) -> Poll<Result<(), Failure>> {
        let mut state = self.lock();
        if state.connected {
            return Poll::Ready(Ok(()));
        }
        if let Some(over) = state.over {
            return Poll::Ready(over);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(crate) fn poll_read(
        self: &Arc<Self>,
        cx: &Context<'_>,
        requests: &mpsc::UnboundedSender<Request>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        let unread = state.incoming.get(state.taken..).unwrap_or_default();
        if !unread.is_empty() {
            let n = unread.len().min(buf.remaining());
            buf.put_slice(unread.get(..n).unwrap_or_default());
            state.taken += n;
            if state.unread() == 0 {
                state.incoming.clear();
                state.taken = 0;
            }
            if state.full && state.unread() <= CAPACITY / 2 {
                self.touch(&mut state, requests);
            }
            return Poll::Ready(Ok(()));
        }
        match state.over {
            Some(Err(why)) if !state.remote_closed => Poll::Ready(Err(error(why))),
            Some(_) => Poll::Ready(Ok(())),
            None if state.remote_closed => Poll::Ready(Ok(())),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(crate) fn poll_write(
        self: &Arc<Self>,
        cx: &Context<'_>,
        requests: &mpsc::UnboundedSender<Request>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        if let Some(result) = writable(&state) {
            return Poll::Ready(result.map(|()| 0));
        }
        let room = CAPACITY.saturating_sub(state.outgoing.len());
        if room == 0 {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = bytes.get(..room).unwrap_or(bytes);
        state.outgoing.extend_from_slice(taken);
        self.touch(&mut state, requests);
        Poll::Ready(Ok(taken.len()))
    }

    /// Until the router has all.
    pub(crate) fn poll_flush(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        if state.outgoing.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if let Some(over) = state.over {
            return Poll::Ready(Err(error(over.err().unwrap_or(Failure::Reset))));
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Until the router knows that this was all.
    pub(crate) fn poll_finish(
        self: &Arc<Self>,
        cx: &Context<'_>,
        requests: &mpsc::UnboundedSender<Request>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        if state.finished {
            return Poll::Ready(Ok(()));
        }
        if let Some(over) = state.over {
            return Poll::Ready(over.map_err(error));
        }
        state.writer = Some(cx.waker().clone());
        if !std::mem::replace(&mut state.finish, true) {
            self.touch(&mut state, requests);
        }
        Poll::Pending
    }

    pub(crate) fn poll_over(
        self: &Arc<Self>,
        cx: &Context<'_>,
        requests: &mpsc::UnboundedSender<Request>,
    ) -> Poll<Result<(), Failure>> {
        let mut state = self.lock();
        if let Some(over) = state.over {
            return Poll::Ready(over);
        }
        // What nobody reads would keep it from ending.
        state.incoming.clear();
        state.taken = 0;
        state.reader = Some(cx.waker().clone());
        if state.full {
            self.touch(&mut state, requests);
        }
        Poll::Pending
    }

    pub(crate) fn leave(self: &Arc<Self>, requests: &mpsc::UnboundedSender<Request>) {
        let mut state = self.lock();
        state.left = true;
        if state.over.is_none() {
            self.touch(&mut state, requests);
        }
    }

    /// Takes an incoming stream; false when it has failed already.
    pub(crate) fn accept(&self) -> bool {
        let mut state = self.lock();
        state.accepted = true;
        !matches!(state.over, Some(Err(_)))
    }

    pub(crate) fn remote(&self) -> Option<Identity> {
        self.lock().remote.clone()
    }
}

/// `None` when bytes may be written; else what to say.
fn writable(state: &State) -> Option<io::Result<()>> {
    if state.finish {
        return Some(Err(io::ErrorKind::BrokenPipe.into()));
    }
    state.over.map(|over| Err(error(over.err().unwrap_or(Failure::Reset))))
}

/// The driver's side.
impl Pipe {
    /// A stream that exists, or is being opened.
    pub(crate) fn begin(&self, handle: StreamHandle, remote: Option<Identity>) {
        let mut state = self.lock();
        state.handle = Some(handle);
        state.connected = remote.is_some();
        // Who opens a stream has it.
        state.accepted = remote.is_none();
        state.remote = remote;
    }

    /// The destination that it belongs to.
    pub(crate) const fn of(&self) -> DestinationId {
        self.destination
    }

    pub(crate) fn handle(&self) -> Option<StreamHandle> {
        self.lock().handle
    }

    pub(crate) fn connect(&self, remote: Option<Identity>) {
        let mut state = self.lock();
        state.connected = true;
        state.remote = remote;
        state.wake();
    }

    pub(crate) fn close_remote(&self) {
        let mut state = self.lock();
        state.remote_closed = true;
        state.wake();
    }

    pub(crate) fn end(&self, result: Result<(), Failure>) {
        let mut state = self.lock();
        if state.over.is_none() {
            state.over = Some(result);
        }
        if result.is_err() && !state.accepted {
            state.incoming = Vec::new();
            state.taken = 0;
        }
        state.wake();
    }

    /// Moves bytes in both directions. False when the stream is left: its handle is dead then.
    pub(crate) fn pump(&self, router: &mut Router, now: Instant) -> bool {
        let mut state = self.lock();
        let Some(handle) = state.handle else { return true };
        state.touched = false;
        if state.left && !state.finish {
            router.reset(now, handle);
            return false;
        }
        let mut written = 0;
        while let Some(rest) = state.outgoing.get(written..).filter(|rest| !rest.is_empty()) {
            match router.write(now, handle, rest) {
                0 => break,
                n => written += n,
            }
        }
        state.outgoing.drain(..written);
        let finishing = state.finish && !state.finished && state.outgoing.is_empty();
        if finishing {
            router.finish(now, handle);
            state.finished = true;
        }
        if state.left && state.finished {
            router.release(now, handle);
            return false;
        }
        if (written > 0 || finishing)
            && let Some(writer) = state.writer.take()
        {
            writer.wake();
        }
        let mut read = 0;
        while !state.left {
            let room = state.room();
            let n = if room == 0 { 0 } else { router.read(now, handle, room, &mut state.incoming) };
            if n == 0 {
                break;
            }
            read += n;
        }
        state.full = state.unread() >= CAPACITY;
        if read > 0
            && let Some(reader) = state.reader.take()
        {
            reader.wake();
        }
        true
    }
}

/// A failure as programs expect it of a socket; [`Failure`] is inside.
pub(crate) fn error(why: Failure) -> io::Error {
    let kind = match why {
        Failure::Reset => io::ErrorKind::ConnectionReset,
        Failure::Refused => io::ErrorKind::ConnectionRefused,
        Failure::TimedOut => io::ErrorKind::TimedOut,
        Failure::ShuttingDown => io::ErrorKind::ConnectionAborted,
        Failure::UnknownName | Failure::LeaseSetNotFound | Failure::LeaseSetExpired => {
            io::ErrorKind::NotFound
        }
        Failure::Unsupported => io::ErrorKind::Unsupported,
        Failure::NoRouters => io::ErrorKind::NetworkUnreachable,
        Failure::NoTunnels | Failure::TooMany => io::ErrorKind::Other,
    };
    io::Error::new(kind, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_is_always_behind_makes_no_buffer_grow() {
        let mut state = State::default();
        for _ in 0..1_000 {
            let room = state.room();
            state.incoming.resize(state.incoming.len() + room, 7);
            state.taken += 8 * 1024;
        }
        assert!(state.incoming.capacity() <= 2 * CAPACITY, "{}", state.incoming.capacity());
    }
}
