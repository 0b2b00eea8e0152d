//! Messages whose receipt the other side is to confirm, and what is known when it does.

use crate::audit::Audit;
use crate::garlic::ecies::AckId;
use crate::time::{Instant, UnixTime};
use crate::tunnel::OutboundId;
use crate::wire::hash::Hash;
use alloc::collections::{BTreeMap, VecDeque};

/// Confirmations that are waited for; the oldest is forgotten.
const MAX_ACKS: usize = 1024;

/// A message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) to: Hash,
    pub(super) at: Instant,
    /// When our lease set that went along was published.
    pub(super) lease_set: Option<UnixTime>,
    /// The tunnel that it left through, once the router says so.
    pub(super) via: Option<OutboundId>,
}

/// All that are waited for.
#[derive(Default)]
pub(super) struct Acks {
    sent: BTreeMap<AckId, Sent>,
    /// In order of sending, with some that have come in the meantime.
    order: VecDeque<AckId>,
}

impl Acks {
    /// A message that asks for an ack was made.
    pub(super) fn expect(&mut self, id: AckId, sent: Sent) {
        while self.order.len() >= MAX_ACKS {
            if let Some(oldest) = self.order.pop_front() {
                self.sent.remove(&oldest);
            }
        }
        self.order.push_back(id);
        self.sent.insert(id, sent);
    }

    /// What is held, and what may be.
    pub(super) fn audit(&self, audit: &mut Audit<'_>) {
        audit.see("destination: acks waited for", self.sent.len(), MAX_ACKS);
        audit.see("destination: order of acks", self.order.len(), MAX_ACKS);
    }

    /// It left through this tunnel.
    pub(super) fn went(&mut self, id: AckId, via: OutboundId) {
        if let Some(sent) = self.sent.get_mut(&id) {
            sent.via = Some(via);
        }
    }

    /// Its ack came.
    pub(super) fn take(&mut self, id: AckId) -> Option<Sent> {
        self.sent.remove(&id)
    }
}
