//! What the sockets bring: accepted streams, bytes, ends and errors.

use super::conn::{Conn, Got, Phase, ReadSide, WriteSide};
use super::listen::Accepted;
use super::{ACCEPT_PAUSE, EventLoop, Host};
use crate::clock;
use crate::machine::Machine;
use log::{debug, warn};
use ramson_core::router::input::{ConnError, ConnId, ConnInput, Consumed};
use std::io;
use std::time::Duration;

/// Streams that one listener accepts in a turn.
const MAX_ACCEPTS: usize = 64;
/// Bytes of input after which the router is asked for output, so that what it relays never fills
/// its send queues within one turn.
const FLUSH_EVERY: usize = 256 << 10;
/// How often running out of descriptors is told.
const COMPLAIN: Duration = Duration::from_mins(1);
/// Bytes that a peer may send after we closed the stream, before we stop reading.
const MAX_DISCARD: usize = 4 << 20;

impl<M: Machine, H: Host> EventLoop<M, H> {
    /// Takes what waits at the listeners.
    pub(super) fn accept_all(&mut self) {
        for i in 0..self.listeners.len() {
            for _ in 0..MAX_ACCEPTS {
                let Some(l) = self.listeners.get_mut(i).filter(|l| l.ready && !l.paused) else {
                    break;
                };
                let listener = l.listener;
                match l.acceptor.accept() {
                    Accepted::Stream(socket, remote) => {
                        let id = ConnId::accepted(self.accepted);
                        self.accepted += 1;
                        let index = match self.insert(Conn::new(id, socket, Phase::Open)) {
                            Ok(index) => index,
                            Err(e) => {
                                debug!("cannot watch an accepted stream: {e}");
                                continue;
                            }
                        };
                        self.input(index, ConnInput::Accepted { remote, listener });
                    }
                    Accepted::Gone => {}
                    Accepted::Nothing => l.ready = false,
                    Accepted::Exhausted(e) => {
                        l.paused = true;
                        self.exhausted(&e);
                    }
                }
            }
        }
    }

    /// Lets listeners wait for descriptors.
    fn exhausted(&mut self, e: &io::Error) {
        let now = clock::now();
        self.accept_again = Some(now + ACCEPT_PAUSE);
        if self.complained.is_none_or(|at| now.saturating_since(at) >= COMPLAIN) {
            self.complained = Some(now);
            warn!("cannot accept streams for the moment: {e}");
        }
    }

    /// One step of a stream's reading side.
    pub(super) fn read(&mut self, index: usize) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        conn.in_read_queue = false;
        if !conn.has_input() {
            return;
        }
        match conn.phase {
            Phase::Connecting => match conn.connected() {
                Ok(true) => {
                    conn.phase = Phase::Open;
                    self.input(index, ConnInput::Connected);
                }
                Ok(false) => conn.writable = false,
                Err(e) => self.fail(index, e),
            },
            Phase::Open if !conn.unread.is_empty() => self.offer(index),
            Phase::Open if conn.read == ReadSide::Ended => self.fail(index, ConnError::Reset),
            Phase::Open => {
                let mut buf = std::mem::take(&mut self.read_buf);
                match conn.read(&mut buf) {
                    Got::Bytes(n) => self.bytes(index, buf.get_mut(..n).unwrap_or_default()),
                    Got::Nothing => {}
                    Got::End => self.ended(index),
                    Got::Failed(e) => self.fail(index, e),
                }
                self.read_buf = buf;
            }
            Phase::Flushing | Phase::Lingering => self.discard(index),
        }
        self.enqueue(index);
        self.flush_if_due();
    }

    /// Sends what there is when much came in.
    pub(super) fn flush_if_due(&mut self) {
        if self.unflushed >= FLUSH_EVERY {
            self.drain();
        }
    }

    /// Offers again what the router did not take.
    fn offer(&mut self, index: usize) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        let mut rest = std::mem::take(&mut conn.unread);
        self.bytes(index, &mut rest);
    }

    fn bytes(&mut self, index: usize, bytes: &mut [u8]) {
        self.unflushed += bytes.len();
        let consumed = self.input_without_actions(index, ConnInput::Bytes(&mut *bytes));
        if let Some(Consumed { taken, .. }) = consumed
            && let Some(conn) = self.conns.get_mut(index)
            && let Some(rest) = bytes.get(taken..).filter(|r| !r.is_empty())
        {
            conn.keep(rest);
            conn.paused = true;
        }
        self.actions();
    }

    /// The peer ended its side.
    fn ended(&mut self, index: usize) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        if conn.write == WriteSide::Broken {
            // It did more than that: it takes nothing either.
            self.fail(index, ConnError::Reset);
            return;
        }
        conn.read = ReadSide::Ended;
        self.input(index, ConnInput::ReadClosed);
    }

    /// Reads what a closed stream still brings.
    fn discard(&mut self, index: usize) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        match conn.read(&mut self.read_buf) {
            Got::Bytes(n) => {
                conn.discarded += n;
                if conn.discarded > MAX_DISCARD {
                    self.remove(index);
                }
            }
            Got::Nothing => {}
            Got::End => {
                conn.read = ReadSide::Ended;
                if conn.phase == Phase::Lingering {
                    self.remove(index);
                }
            }
            Got::Failed(_) => self.remove(index),
        }
    }

    /// A stream is dead: the router hears of it last.
    fn fail(&mut self, index: usize, e: ConnError) {
        let Some(conn) = self.conns.get(index) else { return };
        let (id, told) = (conn.id, matches!(conn.phase, Phase::Flushing | Phase::Lingering));
        self.remove(index);
        if !told {
            self.failed(id, e);
        }
    }

    /// Tells the router that a stream is gone.
    pub(super) fn failed(&mut self, id: ConnId, e: ConnError) {
        self.call(|m| m.handle_conn(clock::now(), id, ConnInput::Failed(e)));
        self.actions();
    }

    fn input(&mut self, index: usize, input: ConnInput<'_>) {
        let _ = self.input_without_actions(index, input);
        self.actions();
    }

    /// Hands the router one input; when that panics, the stream is what it costs, and there is no
    /// answer.
    fn input_without_actions(&mut self, index: usize, input: ConnInput<'_>) -> Option<Consumed> {
        let id = self.conns.get(index)?.id;
        let consumed = self.call(|m| m.handle_conn(clock::now(), id, input));
        let conn = self.conns.get_mut(index)?;
        match consumed {
            Some(consumed) => conn.paused |= consumed.pause,
            None => {
                conn.socket.set_abort();
                self.fail(index, ConnError::Other);
            }
        }
        consumed
    }
}
