//! Pings and pongs (documentation `api/streaming`, Ping / Pong).

use super::conn::{Trust, authenticate};
use super::{PacketKind, StreamEvent, Streams};
use crate::audit::Audit;
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use crate::wire::streaming::{Flags, Outgoing, Packet};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Pings of ours that wait for an answer; the oldest is forgotten.
const MAX_PINGS: usize = 16;
/// Bytes of a ping that come back.
const MAX_PAYLOAD: usize = 32;

/// A ping of ours.
struct Ping {
    id: u32,
    remote: Hash,
    sent: Instant,
}

/// Pings that wait for an answer.
#[derive(Default)]
pub(super) struct Pings(VecDeque<Ping>);

impl Pings {
    /// What is held, and what may be.
    pub(super) fn audit(&self, audit: &mut Audit<'_>) {
        audit.see("streams: pings", self.0.len(), MAX_PINGS);
    }
}

impl Streams {
    /// Asks a destination for a sign of life; [`StreamEvent::Pong`] follows, or not.
    pub fn ping(&mut self, now: Instant, remote: Hash, from_port: u16, to_port: u16) {
        let id = self.rng.nonzero_u32();
        let mut bytes = Vec::new();
        Outgoing {
            send_stream: id,
            flags: Flags::ECHO,
            from: Some(&self.local.identity),
            sign: Some(&self.local.key),
            ..Outgoing::default()
        }
        .encode(&mut bytes);
        if self.pings.0.len() >= MAX_PINGS {
            self.pings.0.pop_front();
        }
        self.pings.0.push_back(Ping { id, remote, sent: now });
        self.control(remote, (from_port, to_port), None, PacketKind::Echo, bytes);
    }

    /// A packet with the ECHO flag; false when it is of no use.
    pub(super) fn handle_echo(
        &mut self,
        now: Instant,
        unix: UnixTime,
        ports: (u16, u16),
        session: Option<Hash>,
        packet: &Packet<'_>,
    ) -> bool {
        if packet.send_stream == 0 {
            return self.handle_pong(now, session, packet.receive_stream);
        }
        if !self.local.config.answer_pings || !self.courtesy.allows(now) {
            return false;
        }
        let Ok(options) = packet.options(None) else { return false };
        let Some(from) = options.from.clone() else { return false };
        let trust = if session.is_some() { Trust::Session } else { Trust::Nobody };
        if session.is_some_and(|session| session != from.hash())
            || authenticate(packet, &options, &from, None, trust, unix).is_err()
        {
            return false;
        }
        let mut bytes = Vec::new();
        let payload = packet.payload.get(..MAX_PAYLOAD).unwrap_or(packet.payload);
        Outgoing {
            receive_stream: packet.send_stream,
            flags: Flags::ECHO,
            payload: [payload, &[]],
            ..Outgoing::default()
        }
        .encode(&mut bytes);
        self.control(from.hash(), ports, None, PacketKind::Echo, bytes);
        true
    }

    fn handle_pong(&mut self, now: Instant, session: Option<Hash>, id: u32) -> bool {
        let place = self.pings.0.iter().position(|ping| ping.id == id);
        let Some(Ping { remote, sent, .. }) = place.and_then(|place| self.pings.0.remove(place))
        else {
            return false;
        };
        if session.is_some_and(|session| session != remote) {
            return false;
        }
        let rtt = now.saturating_since(sent);
        self.events.push_back(StreamEvent::Pong { remote, rtt });
        true
    }
}
