//! What the router sends, and how its streams end.

use super::conn::{MAX_CHUNK, Phase, ReadSide, WriteSide};
use super::{EventLoop, FLUSH_TIMEOUT, Host};
use crate::clock;
use crate::machine::Machine;
use ramson_core::router::input::ConnId;
use std::time::Duration;

/// How long a peer has to close a stream that we closed.
const LINGER: Duration = Duration::from_secs(2);
/// Streams that linger at once; more are closed without.
const MAX_LINGERING: usize = 256;
/// Chunks of the router's last words on one stream: a bound against a machine that never ends.
const MAX_LAST_CALLS: usize = 64;

impl<M: Machine, H: Host> EventLoop<M, H> {
    /// Does everything the router wants done and sends everything it has, as far as the sockets
    /// take it and this turn's share goes.
    pub(super) fn drain(&mut self) {
        self.unflushed = 0;
        let mut later = Vec::new();
        for _ in 0..self.failed_connects.len() {
            if let Some((id, e)) = self.failed_connects.pop_front() {
                self.failed(id, e);
            }
        }
        loop {
            let mut progress = self.actions();
            progress |= self.send_datagrams();
            while let Some(Some(id)) = self.call(M::poll_writable) {
                progress = true;
                self.with(id, |conn| conn.wants_write = true);
            }
            for _ in 0..self.write_queue.len() {
                let Some(index) = self.write_queue.pop_front() else { break };
                progress |= self.write(index, &mut later);
            }
            if !progress || self.failure.is_some() {
                break;
            }
        }
        for index in later {
            if let Some(conn) = self.conns.get_mut(index) {
                conn.in_write_queue = false;
            }
            self.enqueue(index);
        }
    }

    /// Writes one stream's share of a turn; `true` when the router was asked for bytes. A stream
    /// whose share is used up goes to `later`, and until then no queue takes it.
    fn write(&mut self, index: usize, later: &mut Vec<usize>) -> bool {
        let mut written = 0;
        let mut asked = false;
        while let Some(conn) = self.conns.get_mut(index) {
            if !conn.has_output() {
                conn.in_write_queue = false;
                break;
            }
            if conn.unsent() > 0 {
                conn.flush();
                continue;
            }
            if conn.phase == Phase::Flushing {
                conn.in_write_queue = false;
                self.sent_all(index);
                break;
            }
            if written >= MAX_CHUNK {
                later.push(index);
                break;
            }
            asked = true;
            written += self.write_chunk(index);
        }
        // A stream that broke has its error to be read.
        self.enqueue(index);
        asked
    }

    /// Asks the router for bytes of one stream and sends them.
    fn write_chunk(&mut self, index: usize) -> usize {
        let Some(conn) = self.conns.get(index) else { return 0 };
        let (id, room) = (conn.id, conn.room());
        let mut buf = std::mem::take(&mut self.write_buf);
        buf.clear();
        self.call(|m| m.poll_conn(clock::now(), id, room, &mut buf));
        if let Some(conn) = self.conns.get_mut(index) {
            conn.wants_write = !buf.is_empty();
            match conn.write {
                WriteSide::Open | WriteSide::Ending if !buf.is_empty() => {
                    conn.send(&buf);
                }
                WriteSide::Ending => conn.end_write(),
                // Nobody wants them.
                WriteSide::Open | WriteSide::Ended | WriteSide::Broken => {}
            }
        }
        let n = buf.len();
        self.write_buf = buf;
        n
    }

    /// A closed stream has sent its last.
    fn sent_all(&mut self, index: usize) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        if conn.write != WriteSide::Ended {
            conn.end_write();
        }
        let peer_ended = conn.read != ReadSide::Open;
        if peer_ended || conn.write == WriteSide::Broken || self.lingering >= MAX_LINGERING {
            self.remove(index);
            return;
        }
        conn.phase = Phase::Lingering;
        conn.readable = true;
        self.lingering += 1;
        self.set_deadline(index, clock::now() + LINGER);
        self.enqueue(index);
    }

    /// Ends a stream as the router wants it.
    pub(super) fn close(&mut self, id: ConnId, abort: bool) {
        let Some(&index) = self.by_id.get(&id) else { return };
        let Some(conn) = self.conns.get_mut(index) else { return };
        // What the router says late about this number goes nowhere.
        self.by_id.remove(&id);
        if abort {
            conn.socket.set_abort();
        }
        if abort || conn.phase == Phase::Connecting {
            self.remove(index);
            return;
        }
        conn.phase = Phase::Flushing;
        conn.wants_write = false;
        conn.unread = Vec::new();
        // The router counts on being asked until it says 0, even when nobody wants it any more.
        for _ in 0..MAX_LAST_CALLS {
            let mut buf = std::mem::take(&mut self.write_buf);
            buf.clear();
            self.call(|m| m.poll_conn(clock::now(), id, MAX_CHUNK, &mut buf));
            if let Some(conn) = self.conns.get_mut(index) {
                conn.append(&buf);
            }
            let empty = buf.is_empty();
            self.write_buf = buf;
            if empty {
                break;
            }
        }
        self.set_deadline(index, clock::now() + FLUSH_TIMEOUT);
        self.enqueue(index);
    }
}
