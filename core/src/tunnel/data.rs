//! Carrying messages: sending through our tunnels, relaying cells, delivering what arrives.

use super::layer::Layer;
use super::own::Inbound;
use super::participant::{End, Participant};
use super::{
    Clock, MAX_ACTIONS, OutboundId, PoolId, Priority, SendError, TunnelAction, Tunnels, once,
};
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use crate::wire::i2np::{Message, MessageType, TunnelGateway};
use crate::wire::tunnel::{CELL_LEN, Delivery, gateway_body, tunnel_id};
use alloc::vec::Vec;
use core::time::Duration;

/// Messages to ourselves that one call may cause: our tunnels and those of others may both end
/// here, but not for ever.
const MAX_LOOPBACK: usize = 256;
/// How far the clock of a message's sender may be off, as i2pd has it: past its end, and ahead.
const MAX_LATE: Duration = Duration::from_secs(60);
const MAX_EARLY: Duration = Duration::from_secs(180);

/// A gateway whose open cell is to be closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenGateway {
    Own(OutboundId),
    Transit(u32),
}

/// A cell of somebody else's tunnel that waits for our part on it.
pub(crate) struct Relayed {
    /// The id under which we receive.
    id: u32,
    expires: UnixTime,
    cell: Vec<u8>,
}

impl Tunnels {
    /// Sends through one of our tunnels. The message leaves with the next drain of
    /// [`Self::poll_action`].
    pub fn send(
        &mut self,
        now: Instant,
        unix: UnixTime,
        via: OutboundId,
        delivery: Delivery,
        message: Message,
    ) -> Result<(), SendError> {
        let clock = self.clock(now, unix);
        let result = self.send_queued(clock, via, delivery, message);
        self.drain_loopback(clock);
        result
    }

    fn send_queued(
        &mut self,
        clock: Clock,
        via: OutboundId,
        delivery: Delivery,
        message: Message,
    ) -> Result<(), SendError> {
        let Some(tunnel) = self.outbound.get_mut(&via) else {
            return Err(SendError::NoTunnel(message));
        };
        if tunnel.hops.is_empty() {
            return self.send_directly(clock, delivery, message);
        }
        self.scratch.clear();
        if message.encode_full(&mut self.scratch).is_err()
            || tunnel.gateway.push(delivery, &self.scratch, &mut self.rng, &mut self.cells).is_err()
        {
            return Err(SendError::TooLarge(message));
        }
        if tunnel.gateway.is_open() {
            self.mark_open(OpenGateway::Own(via));
        }
        self.send_own_cells(clock.expires(), via, Priority::Own);
        Ok(())
    }

    /// Sends in a cell of its own, ahead of what waits.
    pub(crate) fn send_alone(
        &mut self,
        clock: Clock,
        via: OutboundId,
        delivery: Delivery,
        message: &Message,
    ) -> Result<(), SendError> {
        let no_tunnel = || SendError::NoTunnel(message.clone());
        let tunnel = self.outbound.get_mut(&via).ok_or_else(no_tunnel)?;
        if tunnel.hops.is_empty() {
            return self.send_directly(clock, delivery, message.clone());
        }
        self.cells.extend(tunnel.gateway.flush(&mut self.rng));
        self.send_own_cells(clock.expires(), via, Priority::Own);
        let tunnel = self.outbound.get_mut(&via).ok_or_else(no_tunnel)?;
        self.scratch.clear();
        if message.encode_full(&mut self.scratch).is_err()
            || tunnel.gateway.push(delivery, &self.scratch, &mut self.rng, &mut self.cells).is_err()
        {
            return Err(SendError::TooLarge(message.clone()));
        }
        self.cells.extend(tunnel.gateway.flush(&mut self.rng));
        self.send_own_cells(clock.expires(), via, Priority::Control);
        Ok(())
    }

    /// What a tunnel without hops does.
    fn send_directly(
        &mut self,
        clock: Clock,
        delivery: Delivery,
        message: Message,
    ) -> Result<(), SendError> {
        match delivery {
            Delivery::Local => self.send_to(self.local, message, Priority::Own),
            Delivery::Router(to) => self.send_to(to, message, Priority::Own),
            Delivery::Tunnel { gateway, tunnel } => {
                let mut body = Vec::with_capacity(message.body.len() + 22);
                if TunnelGateway::encode(tunnel, &message, &mut body).is_err() {
                    return Err(SendError::TooLarge(message));
                }
                self.send_new(clock, gateway, MessageType::TUNNEL_GATEWAY, body, Priority::Own);
            }
        }
        Ok(())
    }

    /// A message with a fresh id.
    pub(crate) fn send_new(
        &mut self,
        clock: Clock,
        to: Hash,
        kind: MessageType,
        body: Vec<u8>,
        priority: Priority,
    ) {
        let message = Message { kind, id: self.rng.u32(), expires: clock.expires(), body };
        self.send_to(to, message, priority);
    }

    /// To a router, which may be this one.
    pub(crate) fn send_to(&mut self, to: Hash, message: Message, priority: Priority) {
        if to == self.local {
            if self.loopback.len() < MAX_LOOPBACK {
                self.loopback.push_back(message);
            }
        } else if priority == Priority::Control || self.actions.len() < MAX_ACTIONS {
            self.actions.push_back(TunnelAction::Send { to, message, priority });
        }
    }

    /// Handles what we sent to ourselves, as if it had come directly.
    pub(crate) fn drain_loopback(&mut self, clock: Clock) {
        for _ in 0..MAX_LOOPBACK {
            let Some(message) = self.loopback.pop_front() else { return };
            if let Some(message) = self.handle_direct(clock, None, message) {
                self.actions.push_back(TunnelAction::Received { pool: None, message });
            }
        }
        self.loopback.clear();
    }

    fn mark_open(&mut self, gateway: OpenGateway) {
        if !self.open.contains(&gateway) {
            self.open.push(gateway);
        }
    }

    /// Closes all open cells, and relays what waits for it. False when there was nothing to do.
    pub(crate) fn flush(&mut self) -> bool {
        let clock = Clock { now: self.seen.0, unix: self.seen.1 };
        let open = core::mem::take(&mut self.open);
        let busy = !open.is_empty() || !self.relay.is_empty();
        for open in open {
            match open {
                OpenGateway::Own(id) => {
                    if let Some(t) = self.outbound.get_mut(&id) {
                        self.cells.extend(t.gateway.flush(&mut self.rng));
                        self.send_own_cells(clock.expires(), id, Priority::Own);
                    }
                }
                OpenGateway::Transit(id) => {
                    if let Some(t) = self.transit.get_mut(id)
                        && let End::Gateway(gateway) = &mut t.end
                    {
                        self.cells.extend(gateway.flush(&mut self.rng));
                        self.relay_made(None, clock.expires(), id);
                    }
                }
            }
        }
        self.relay(clock);
        self.drain_loopback(clock);
        busy
    }

    fn send_own_cells(&mut self, expires: UnixTime, via: OutboundId, priority: Priority) {
        let Some(tunnel) = self.outbound.get(&via) else { return self.cells.clear() };
        let Some(to) = tunnel.hops.first().copied() else { return self.cells.clear() };
        for mut cell in self.cells.drain(..) {
            tunnel.wrap(&mut cell);
            push_cell(&mut self.actions, &mut self.rng, to, expires, cell, priority);
        }
    }

    /// Cells that a gateway of ours in somebody else's tunnel made.
    fn relay_made(&mut self, now: Option<Instant>, expires: UnixTime, id: u32) {
        let mut cells = core::mem::take(&mut self.cells);
        for cell in cells.drain(..) {
            self.relay_later(now, expires, id, cell);
        }
        self.cells = cells;
    }

    /// Keeps a cell of somebody else's tunnel for [`Self::relay`].
    fn relay_later(&mut self, now: Option<Instant>, expires: UnixTime, id: u32, cell: Vec<u8>) {
        if self.relay.len() + self.actions.len() < MAX_ACTIONS
            && let Some(tunnel) = self.transit.get_mut(id)
        {
            tunnel.ready(now);
            self.relay.push(Relayed { id, expires, cell });
        }
    }

    /// Our part on all cells that wait, of any tunnels together: each by itself would take three
    /// times as long. Then they go on, or, at the end of a tunnel, are opened.
    fn relay(&mut self, clock: Clock) {
        let mut relay = core::mem::take(&mut self.relay);
        let mut lanes: Vec<(&Layer, &mut [u8; CELL_LEN])> = relay
            .iter_mut()
            .filter_map(|r| Some((self.transit.get(r.id)?.layer()?, r.cell.first_chunk_mut()?)))
            .collect();
        Layer::encrypt_all(&mut lanes);
        for Relayed { id, expires, mut cell } in relay.drain(..) {
            // One without its keys was not handled above: to send it on as it is would join two links.
            let Some(tunnel) = self.transit.get(id).filter(|t| t.layer().is_some()) else {
                continue;
            };
            if let End::Endpoint(_) = tunnel.end {
                self.deliver_transit(clock, id, &cell);
            } else {
                set_id(&mut cell, tunnel.next_tunnel);
                let (actions, rng) = (&mut self.actions, &mut self.rng);
                push_cell(actions, rng, tunnel.next, expires, cell, Priority::Transit);
            }
        }
        // Kept between calls to spare allocations.
        relay.append(&mut self.relay);
        self.relay = relay;
    }

    /// A cell: somebody else's to relay or to deliver, or one of ours.
    pub(crate) fn handle_cell(&mut self, clock: Clock, mut message: Message) {
        let Ok(id) = tunnel_id(&message.body) else { return };
        if message.body.len() != CELL_LEN {
            log::debug!("cell of {} bytes dropped", message.body.len());
            return;
        }
        if self.transit.contains(id) {
            if !self.replay.is_new(clock.now, &message.body) {
                self.transit.stats.dropped_cells += 1;
                return;
            }
            if !self.transit.charge(clock.now, 1) {
                return;
            }
            match self.transit.get(id).map(|tunnel| &tunnel.end) {
                Some(End::None | End::Endpoint(_)) => {
                    self.relay_later(Some(clock.now), message.expires, id, message.body);
                }
                Some(End::Gateway(_)) => self.transit.stats.dropped_cells += 1,
                None => {}
            }
        } else if let Some(tunnel) = self.inbound.get_mut(&id) {
            if self.own_replay.is_new(clock.now, &message.body) && !tunnel.hops.is_empty() {
                self.deliver_own(clock, id, &mut message.body);
            }
        } else {
            log::trace!("cell for unknown tunnel {id}");
        }
    }

    /// At the end of somebody else's outbound tunnel: whatever is inside goes on to others.
    fn deliver_transit(&mut self, clock: Clock, id: u32, cell: &[u8]) {
        let mut out: Vec<(Hash, MessageType, Vec<u8>)> = Vec::new();
        let mut routed: Vec<(Hash, Message)> = Vec::new();
        let Some(tunnel) = self.transit.get_mut(id) else { return };
        let Participant { end: End::Endpoint(endpoint), .. } = tunnel else { return };
        let result = endpoint.handle(clock.now, cell, &mut self.budget, |delivery, bytes| {
            let Ok(message) = Message::decode_full(bytes) else { return };
            if is_expired(clock.unix, message.expires) {
                return;
            }
            match delivery {
                // Only inbound tunnels end at the router that a message is for.
                Delivery::Local => {}
                Delivery::Router(to) => routed.push((to, message)),
                Delivery::Tunnel { gateway, tunnel } => {
                    if let Ok(body) = gateway_body(tunnel, bytes) {
                        out.push((gateway, MessageType::TUNNEL_GATEWAY, body));
                    }
                }
            }
        });
        if let Err(error) = result {
            log::debug!("cell at our transit endpoint: {error}");
        }
        for (to, kind, body) in out {
            self.send_new(clock, to, kind, body, Priority::Transit);
        }
        for (to, message) in routed {
            self.send_to(to, message, Priority::Transit);
        }
    }

    /// At the end of one of our inbound tunnels.
    fn deliver_own(&mut self, clock: Clock, id: u32, cell: &mut [u8]) {
        let Some(tunnel) = self.inbound.get_mut(&id) else { return };
        tunnel.unwrap(cell);
        let Inbound { pool, life, endpoint, heard, .. } = tunnel;
        let mut messages: Vec<Message> = Vec::new();
        let result = endpoint.handle(clock.now, cell, &mut self.budget, |delivery, bytes| {
            // Anything but local would make us a relay that nobody should know to be one.
            if delivery == Delivery::Local
                && let Ok(message) = Message::decode_full(bytes)
            {
                messages.push(message);
            }
        });
        match result {
            Ok(()) => {
                *heard = Some(clock.now);
                life.doubted = false;
                if life.failures == 1 {
                    life.failures = 0;
                }
            }
            Err(error) => log::debug!("cell in our inbound tunnel: {error}"),
        }
        let pool = *pool;
        for message in messages {
            self.receive(clock, pool, message);
        }
    }

    /// A message for a gateway: somebody else's tunnel, or one of ours without hops.
    pub(crate) fn handle_gateway(&mut self, clock: Clock, body: &[u8]) {
        let Ok(TunnelGateway { tunnel: id, data }) = TunnelGateway::decode(body) else { return };
        if self.transit.contains(id) {
            if !self.transit.charge(clock.now, data.len() / CELL_LEN + 1) {
                return;
            }
            if let Some(tunnel) = self.transit.get_mut(id)
                && let End::Gateway(gateway) = &mut tunnel.end
            {
                let cells = &mut self.cells;
                if gateway.push(Delivery::Local, data, &mut self.rng, cells).is_err() {
                    return;
                }
                if gateway.is_open() {
                    self.mark_open(OpenGateway::Transit(id));
                }
                self.relay_made(Some(clock.now), clock.expires(), id);
            }
        } else if let Some(tunnel) = self.inbound.get_mut(&id).filter(|t| t.hops.is_empty()) {
            tunnel.heard = Some(clock.now);
            let pool = tunnel.pool;
            if let Ok(message) = Message::decode_full(data) {
                self.receive(clock, pool, message);
            }
        } else {
            log::trace!("message for unknown tunnel {id}");
        }
    }

    /// A message that came out of one of our inbound tunnels.
    fn receive(&mut self, clock: Clock, pool: PoolId, mut message: Message) {
        match message.kind {
            // Requests to a router never come through its own tunnels; answering would tell
            // whose they are.
            MessageType::TUNNEL_DATA
            | MessageType::TUNNEL_GATEWAY
            | MessageType::TUNNEL_BUILD
            | MessageType::VARIABLE_TUNNEL_BUILD
            | MessageType::SHORT_TUNNEL_BUILD => {}
            MessageType::OUTBOUND_TUNNEL_BUILD_REPLY => {
                self.handle_outbound_reply(clock, pool, message);
            }
            MessageType::GARLIC if self.take_test(clock, pool, &mut message.body) => {}
            MessageType::GARLIC => {
                let build = once::tag(&message.body).and_then(|tag| self.reply_build(pool, tag));
                match build.and_then(|key| once::open(&key, &mut message.body)) {
                    Some(inner) => self.handle_outbound_reply(clock, pool, inner),
                    None => self.received(pool, message),
                }
            }
            _ => self.received(pool, message),
        }
    }

    fn received(&mut self, pool: PoolId, message: Message) {
        // Nobody knows of a scout but those who were to carry a test through it.
        if pool != PoolId::SCOUTS && self.actions.len() < MAX_ACTIONS {
            self.actions.push_back(TunnelAction::Received { pool: Some(pool), message });
        }
    }
}

fn push_cell(
    actions: &mut alloc::collections::VecDeque<TunnelAction>,
    rng: &mut Rng,
    to: Hash,
    expires: UnixTime,
    body: Vec<u8>,
    priority: Priority,
) {
    if actions.len() < MAX_ACTIONS {
        // A fresh id at every hop: Java drops messages whose id it has seen.
        let message = Message { kind: MessageType::TUNNEL_DATA, id: rng.u32(), expires, body };
        actions.push_back(TunnelAction::Send { to, message, priority });
    }
}

fn set_id(cell: &mut [u8], id: u32) {
    if let Some(head) = cell.first_chunk_mut() {
        *head = id.to_be_bytes();
    }
}

fn is_expired(unix: UnixTime, expires: UnixTime) -> bool {
    unix > expires + MAX_LATE || expires > unix + MAX_EARLY
}
