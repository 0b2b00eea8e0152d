//! What NTCP2's streams bring, and the bytes for them.

use super::link::{Link, LinkId};
use super::{PeerAction, PeerEvent, Peers};
use crate::conn::ConnId;
use crate::time::{Instant, UnixTime};
use crate::transport::ntcp2::{self, HandshakeError, SessionError, SessionEvent};
use alloc::vec::Vec;
use core::net::SocketAddr;

impl Peers {
    /// True when `conn` is one of ours.
    pub(crate) fn owns(&self, conn: ConnId) -> bool {
        self.ntcp2.owns(conn)
    }

    /// A stream was accepted.
    pub(crate) fn handle_accepted(&mut self, now: Instant, conn: ConnId, remote: SocketAddr) {
        if self.closing || !self.config.reach.ntcp2 || !self.has_room_for_stranger(now, remote) {
            self.actions.push_back(PeerAction::Close { conn, abort: true });
            return;
        }
        self.links.insert(LinkId::Stream(conn), Link::new(None, remote, now));
        self.ntcp2.accept(now, conn);
    }

    /// The stream that we asked for is open.
    pub(crate) fn handle_connected(&mut self, conn: ConnId) {
        self.ntcp2.handle_connected(conn);
    }

    /// Bytes arrived; says whether to stop reading.
    pub(crate) fn handle_bytes(
        &mut self,
        now: Instant,
        unix: UnixTime,
        conn: ConnId,
        bytes: &mut [u8],
    ) -> bool {
        self.bytes.received += bytes.len() as u64;
        let _ = self.inbound.available(now);
        self.inbound.take(bytes.len());
        let Some(link) = self.links.get(&LinkId::Stream(conn)) else { return false };
        if link.is_up() {
            self.heard = Some(now);
        }
        self.ntcp2.handle_bytes(now, unix, conn, bytes);
        self.drain(now, unix);
        let open = self.links.contains_key(&LinkId::Stream(conn));
        let starved = open && self.inbound.available(now) == 0;
        if starved {
            self.starved_reads.insert(conn);
        }
        starved
    }

    /// The peer finished writing, or (`dead`) the stream is gone.
    pub(crate) fn handle_gone(&mut self, now: Instant, unix: UnixTime, conn: ConnId, dead: bool) {
        self.ntcp2.handle_gone(conn, dead);
        self.drain(now, unix);
    }

    pub(crate) fn poll_writable(&mut self) -> Option<ConnId> {
        self.ntcp2.poll_writable()
    }

    pub(crate) fn poll_conn(
        &mut self,
        now: Instant,
        unix: UnixTime,
        conn: ConnId,
        room: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        let id = LinkId::Stream(conn);
        let mut room = room;
        // Handshakes and goodbyes are not held back by what traffic used up.
        if self.links.get(&id).is_some_and(Link::is_up) {
            let allowed = self.outbound.room(now, id);
            if allowed == 0 {
                if self.ntcp2.hold(conn) {
                    self.outbound.wait(id);
                }
                return 0;
            }
            room = room.min(allowed);
        }
        let n = self.ntcp2.poll_write(now, unix, conn, room, out);
        self.outbound.wrote(id, n);
        self.bytes.sent += n as u64;
        self.drain(now, unix);
        n
    }

    /// Takes what NTCP2 says; false when that is nothing.
    pub(super) fn drain_streams(&mut self, now: Instant, unix: UnixTime) -> bool {
        let mut any = false;
        while let Some((conn, event)) = self.ntcp2.poll_event() {
            any = true;
            self.handle_stream_event(now, unix, conn, event);
        }
        while let Some(ntcp2::Close { conn, abort }) = self.ntcp2.poll_close() {
            self.actions.push_back(PeerAction::Close { conn, abort });
        }
        any
    }

    fn handle_stream_event(
        &mut self,
        now: Instant,
        unix: UnixTime,
        conn: ConnId,
        event: SessionEvent,
    ) {
        let id = LinkId::Stream(conn);
        match event {
            SessionEvent::Established { peer, skew } => self.established(now, id, peer, skew),
            SessionEvent::Message(message) => self.received(now, id, message),
            SessionEvent::RouterInfo { info, .. } => self.informed(id, info),
            SessionEvent::Skew(_) => {}
            SessionEvent::Closed(result) => {
                let peer = self.links.get(&id).and_then(|link| link.peer);
                log::debug!("session with {peer:?} over NTCP2 ended: {result:?}");
                self.closed(now, unix, id);
                if let Err(SessionError::Handshake(HandshakeError::ClockSkew(seconds))) = result {
                    self.events.push_back(PeerEvent::Skewed { peer, seconds });
                }
            }
        }
    }
}
