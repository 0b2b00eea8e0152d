//! Packets that arrive: which stream they belong to, and those that open one.

use super::conn::{Conn, Trust, authenticate};
use super::graves::Grave;
use super::listener::EarlyPacket;
use super::{PacketKind, StreamEvent, StreamId, Streams};
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use crate::wire::streaming::{Flags, Outgoing, Packet};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// The longest packet that is looked at; nobody sends longer ones.
const MAX_PACKET_LEN: usize = 32 * 1024;

impl Streams {
    /// A packet arrived, from `from_port` of the remote to `to_port` of ours.
    ///
    /// `session` is the destination whose ratchet session it came over, if the session is bound to
    /// one by that destination's lease set. Packets that claim to be somebody else's are dropped
    /// then, and ones that their makers did not sign are believed.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        unix: UnixTime,
        from_port: u16,
        to_port: u16,
        session: Option<Hash>,
        bytes: &[u8],
    ) {
        self.stats.packets_in += 1;
        let used = bytes.len() <= MAX_PACKET_LEN
            && Packet::decode(bytes).is_ok_and(|packet| {
                let ports = (to_port, from_port);
                self.dispatch(now, unix, ports, session, &packet, bytes)
            });
        if !used {
            self.stats.ignored_in += 1;
        }
    }

    /// False when the packet was of no use.
    fn dispatch(
        &mut self,
        now: Instant,
        unix: UnixTime,
        ports: (u16, u16),
        session: Option<Hash>,
        packet: &Packet<'_>,
        bytes: &[u8],
    ) -> bool {
        if packet.flags.has(Flags::ECHO) {
            return self.handle_echo(now, unix, ports, session, packet);
        }
        if packet.send_stream != 0 {
            let id = StreamId(packet.send_stream);
            if self.conns.contains_key(&id) {
                return self.handle_known(now, unix, id, session, packet);
            }
            if let Some(grave) = self.graves.get(id).copied() {
                return self.handle_grave(now, id, grave, session, packet);
            }
            return self.handle_unknown(now, unix, ports, session, packet);
        }
        if packet.is_syn() && packet.sequence == 0 {
            return self.handle_syn(now, unix, ports, session, packet);
        }
        // More from a peer that does not know our name for the stream yet.
        match self.named(packet.receive_stream, session) {
            Some(id) => self.handle_known(now, unix, id, session, packet),
            None if packet.receive_stream == 0 || packet.is_pure_ack() => false,
            None => {
                let early = EarlyPacket { from: session, bytes: bytes.into() };
                self.early.push(now, packet.receive_stream, early);
                true
            }
        }
    }

    /// The stream that a peer calls `name`; `session` says which peer, if that is known.
    fn named(&self, name: u32, session: Option<Hash>) -> Option<StreamId> {
        let (first, last) = match session {
            Some(hash) => (hash, hash),
            None => (Hash::ZERO, Hash([0xff; 32])),
        };
        let mut streams = self.names.range((name, first)..=(name, last)).map(|(_, id)| *id);
        streams.find(|id| self.conns.contains_key(id))
    }

    fn handle_known(
        &mut self,
        now: Instant,
        unix: UnixTime,
        id: StreamId,
        session: Option<Hash>,
        packet: &Packet<'_>,
    ) -> bool {
        let trust = if session.is_some() { Trust::Session } else { Trust::Nobody };
        self.handle_trusted(now, unix, id, session, packet, trust)
    }

    fn handle_trusted(
        &mut self,
        now: Instant,
        unix: UnixTime,
        id: StreamId,
        session: Option<Hash>,
        packet: &Packet<'_>,
        trust: Trust,
    ) -> bool {
        let Some(conn) = self.conns.get(&id) else { return false };
        let unproven = !conn.proven;
        let remote = conn.remote.hash();
        if session.is_some_and(|session| session != remote) {
            return false;
        }
        let result = self.with(now, id, |conn, cx| conn.handle_packet(cx, unix, packet, trust));
        if unproven && self.conns.get(&id).is_none_or(|conn| conn.proven) {
            self.backlog.remove(id);
        }
        match result {
            Some(Ok(())) => true,
            Some(Err(ignored)) => {
                log::trace!("stream {id:?} of {remote:?}: packet ignored: {ignored}");
                false
            }
            None => false,
        }
    }

    fn handle_syn(
        &mut self,
        now: Instant,
        unix: UnixTime,
        ports: (u16, u16),
        session: Option<Hash>,
        packet: &Packet<'_>,
    ) -> bool {
        // A SYN that names somebody else was sent to them, and by them to us.
        if packet.recipient().is_some_and(|recipient| recipient != self.local.hash) {
            return false;
        }
        let name = packet.receive_stream;
        let Ok(options) = packet.options(None) else { return false };
        let Some(remote) = options.from.clone() else { return false };
        let hash = remote.hash();
        if name == 0 || session.is_some_and(|session| session != hash) {
            return false;
        }
        if let Some(id) = self.names.get(&(name, hash)).copied() {
            // The same SYN again; of a stream that is over, a late one.
            return self.handle_known(now, unix, id, session, packet);
        }
        let trust = if session.is_some() { Trust::Session } else { Trust::Nobody };
        if packet.flags.has(Flags::RESET)
            || authenticate(packet, &options, &remote, None, trust, unix).is_err()
        {
            return false;
        }
        let (local_port, remote_port) = ports;
        if !self.listeners.accepts(local_port) {
            self.refuse(now, hash, ports, name, 0, 0);
            return true;
        }
        if self.conns.len() >= self.local.config.max_streams {
            self.stats.dropped_syns += 1;
            return false;
        }
        let id = self.fresh_id();
        match self.backlog.push(id, hash) {
            Ok(Some(oldest)) => {
                self.stats.dropped_syns += 1;
                self.with(now, oldest, |conn, cx| conn.fail(cx, super::StreamError::Lost));
            }
            Ok(None) => {}
            Err(()) => {
                self.stats.dropped_syns += 1;
                return false;
            }
        }
        let path = self.path_for(now, hash);
        let conn = Conn::accept(now, id, remote.clone(), ports, path, packet, options);
        self.names.insert((name, hash), id);
        self.insert(id, conn);
        self.events.push_back(StreamEvent::Incoming { id, remote, local_port, remote_port });
        self.handle_trusted(now, unix, id, session, packet, Trust::Verified);
        for early in self.early.take(now, name) {
            if early.from.is_none_or(|from| from == hash)
                && let Ok(packet) = Packet::decode(&early.bytes)
            {
                self.handle_known(now, unix, id, early.from, &packet);
            }
        }
        true
    }

    /// A packet of a stream that is over.
    fn handle_grave(
        &mut self,
        now: Instant,
        id: StreamId,
        grave: Grave,
        session: Option<Hash>,
        packet: &Packet<'_>,
    ) -> bool {
        let stranger = session.is_some_and(|session| session != grave.remote)
            || (grave.remote_id != 0 && packet.receive_stream != grave.remote_id);
        if stranger || packet.is_pure_ack() || packet.flags.has(Flags::RESET) {
            return false;
        }
        match grave.received {
            Some(received) if !grave.reset && packet.sequence <= received => {
                // Our last ack was lost: the peer would wait for it.
                if self.courtesy.allows(now) {
                    let mut bytes = Vec::new();
                    Outgoing {
                        send_stream: packet.receive_stream,
                        receive_stream: id.as_u32(),
                        ack_through: received,
                        ..Outgoing::default()
                    }
                    .encode(&mut bytes);
                    self.control(grave.remote, grave.ports, None, PacketKind::Ack, bytes);
                }
            }
            _ => {
                let (name, sequence) = (packet.receive_stream, grave.next_sequence);
                self.refuse(now, grave.remote, grave.ports, name, id.as_u32(), sequence);
            }
        }
        true
    }

    /// A packet of a stream that we know nothing of, maybe from before a restart.
    fn handle_unknown(
        &mut self,
        now: Instant,
        unix: UnixTime,
        ports: (u16, u16),
        session: Option<Hash>,
        packet: &Packet<'_>,
    ) -> bool {
        if packet.is_pure_ack() || packet.flags.has(Flags::RESET) || packet.receive_stream == 0 {
            return false;
        }
        // Only to somebody who is known to have asked.
        let verified = session.or_else(|| {
            let options = packet.options(None).ok()?;
            let from = options.from.clone()?;
            authenticate(packet, &options, &from, None, Trust::Nobody, unix).ok()?;
            Some(from.hash())
        });
        if let Some(to) = verified {
            self.refuse(now, to, ports, packet.receive_stream, packet.send_stream, 0);
        }
        false
    }

    /// Adds a stream to those that there are.
    pub(super) fn insert(&mut self, id: StreamId, conn: Conn) {
        if let Some(path) = self.paths.get_mut(conn.path) {
            path.streams += 1;
        }
        self.conns.insert(id, Box::new(conn));
    }
}
