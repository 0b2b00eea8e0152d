//! Sending: payloads into garlic for the other side's leases.

use super::acks::Sent;
use super::routes::{Resolution, Route, Waiting};
use super::{Destination, DestinationAction, MESSAGE_LIFETIME};
use crate::garlic::ecies::{self, AckId, EncryptError, Kind, Readiness, SendOptions};
use crate::time::{Instant, UnixTime, earliest};
use crate::tunnel::OutboundId;
use crate::wire::garlic::{Clove, Delivery};
use crate::wire::hash::Hash;
use crate::wire::i2np::{Message, MessageType, sized};
use crate::wire::payload::Payload;
use alloc::vec::Vec;

/// Messages that found no tunnel and wait for one; the oldest is dropped.
pub(super) const MAX_UNSENT: usize = 64;

/// A garlic message on its way to a lease.
#[derive(Debug)]
pub struct Parcel {
    /// The lease's gateway.
    pub gateway: Hash,
    /// The lease's tunnel.
    pub tunnel: u32,
    /// The garlic message.
    pub message: Message,
    /// The other side will confirm it: say with [`Destination::handle_sent`] how it went.
    pub ack: Option<AckId>,
}

impl Destination {
    /// A parcel with this ack left through `via`.
    pub fn handle_sent(&mut self, ack: AckId, via: OutboundId) {
        self.acks.went(ack, via);
    }

    /// There was no tunnel for a parcel, neither the one that was named nor another one: it goes
    /// when there is.
    pub fn handle_unsent(&mut self, parcel: Parcel) {
        self.outbound.clear();
        if self.unsent.len() >= MAX_UNSENT {
            self.unsent.pop_front();
        }
        self.unsent.push_back(parcel);
    }

    /// Sends a payload to `to`, as soon as its lease set is known and we have a tunnel.
    /// `expects_reply`: the other side has a reason to answer soon.
    pub fn send(
        &mut self,
        now: Instant,
        unix: UnixTime,
        to: Hash,
        payload: Payload,
        expects_reply: bool,
    ) {
        self.remotes.open(now, to);
        let message = Waiting { payload, expects_reply };
        if self.is_congested(&to) {
            // What waits already goes first.
            self.remotes.wait(to, message);
            self.send_waiting_for(now, unix, to);
        } else if let Err(message) = self.try_send(now, unix, to, message) {
            self.remotes.wait(to, message);
            self.look_up_if_needed(now, unix, to);
        } else {
            self.look_up_if_needed(now, unix, to);
        }
    }

    /// Sends what found no tunnel before, if it is not too late for it.
    pub(super) fn send_unsent(&mut self, unix: UnixTime) {
        let Some(via) = self.outbound.first().copied() else { return };
        for parcel in core::mem::take(&mut self.unsent) {
            if parcel.message.expires > unix {
                self.actions.push_back(DestinationAction::Send { via, parcel });
            }
        }
    }

    pub(super) fn send_waiting(&mut self, now: Instant, unix: UnixTime) {
        let waiting: Vec<Hash> = self.congested().collect();
        for hash in waiting {
            self.send_waiting_for(now, unix, hash);
        }
    }

    pub(super) fn send_waiting_for(&mut self, now: Instant, unix: UnixTime, hash: Hash) {
        self.look_up_if_needed(now, unix, hash);
        while let Some(message) = self.remotes.take_waiting(&hash) {
            if let Err(message) = self.try_send(now, unix, hash, message) {
                self.remotes.wait_first(hash, message);
                return;
            }
        }
    }

    /// Looks for a lease set that is missing or ends soon; while a search that failed must not be
    /// repeated yet, later.
    pub(super) fn look_up_if_needed(&mut self, now: Instant, unix: UnixTime, hash: Hash) {
        let Some(remote) = self.remotes.get_mut(&hash) else { return };
        if !remote.lacks_lease_set(unix) {
            return;
        }
        match remote.resolution {
            Resolution::Running => {}
            Resolution::Failed { retry_at } if retry_at > now => {
                if self.remotes.is_congested(&hash) {
                    self.retry_at = earliest(self.retry_at, Some(retry_at));
                }
            }
            Resolution::Idle | Resolution::Failed { .. } => self.look_up(hash),
        }
    }

    pub(super) fn look_up(&mut self, hash: Hash) {
        if let Some(remote) = self.remotes.get_mut(&hash) {
            remote.resolution = Resolution::Running;
            self.actions.push_back(DestinationAction::Lookup(hash));
        }
    }

    /// Sends, or gives the payload back when lease set, tunnel or session are not there yet.
    fn try_send(
        &mut self,
        now: Instant,
        unix: UnixTime,
        to: Hash,
        waiting: Waiting,
    ) -> Result<(), Waiting> {
        let Some(remote) = self.remotes.get_mut(&to) else { return Err(waiting) };
        let Some(key) = remote.key() else { return Err(waiting) };
        let Some(route) = remote.route(unix, &self.outbound, &mut self.rng) else {
            return Err(waiting);
        };
        let peer = ecies::Remote { destination: to, key };
        let kind = match self.sessions.readiness(now, &peer) {
            Readiness::Ready { kind, .. } => kind,
            Readiness::Full(until) | Readiness::Wait(until) => {
                self.retry_at = earliest(self.retry_at, Some(until));
                return Err(waiting);
            }
        };
        let message = Message {
            kind: MessageType::DATA,
            id: self.rng.nonzero_u32(),
            expires: unix + MESSAGE_LIFETIME,
            body: data_body(&waiting.payload),
        };
        let bundle = self.bundle(now, unix, to, kind);
        let bundled = bundle.is_some();
        let mut cloves = Vec::with_capacity(2);
        // The lease set goes first, so that the receiver can bind the session before the data.
        cloves.extend(bundle);
        cloves.push(Clove { delivery: Delivery::Destination(to), message });
        let expects_reply = waiting.expects_reply;
        let options = SendOptions { bind: true, ack: bundled, expects_reply };
        match self.sessions.encrypt(now, unix, &peer, &cloves, options) {
            Ok((body, info)) => {
                let lease_set = self.lease_set_version().filter(|_| bundled);
                if let (Kind::NewSession | Kind::Reply, Some(session)) = (info.kind, info.session)
                    && let Some(remote) = self.remotes.get_mut(&to)
                {
                    remote.begin(session, lease_set);
                }
                self.expect_ack(now, info.ack, to, bundled);
                self.emit(unix, route, body, info.ack);
                Ok(())
            }
            Err(EncryptError::Wait(until)) => {
                self.retry_at = earliest(self.retry_at, Some(until));
                Err(waiting)
            }
            Err(e @ EncryptError::Seal(_)) => {
                log::debug!("payload to {to:?} dropped: {e}");
                Ok(())
            }
        }
    }

    pub(super) fn emit(&mut self, unix: UnixTime, route: Route, body: Vec<u8>, ack: Option<AckId>) {
        let message = Message {
            kind: MessageType::GARLIC,
            id: self.rng.nonzero_u32(),
            expires: unix + MESSAGE_LIFETIME,
            body,
        };
        let Route { via, lease } = route;
        let parcel = Parcel { gateway: lease.gateway, tunnel: lease.tunnel, message, ack };
        self.actions.push_back(DestinationAction::Send { via, parcel });
    }

    /// Remembers what a message was that is to be confirmed.
    pub(super) fn expect_ack(&mut self, now: Instant, ack: Option<AckId>, to: Hash, bundled: bool) {
        if let Some(id) = ack {
            let lease_set = self.lease_set_version().filter(|_| bundled);
            self.acks.expect(id, Sent { to, at: now, lease_set, via: None });
        }
    }
}

/// A Data message's body: length, then the payload behind its gzip header.
fn data_body(payload: &Payload) -> Vec<u8> {
    let mut content = Vec::with_capacity(payload.data.len() + 32);
    payload.encode(&mut content);
    let mut body = Vec::with_capacity(content.len() + 4);
    sized::encode(&content, &mut body);
    body
}
