//! Our own lease set: making it, giving it to those we talk to, and telling them of its loss.

use super::routes::same;
use super::{Destination, DestinationAction, MESSAGE_LIFETIME, X25519};
use crate::garlic::ecies::{self, Kind, Readiness, SendOptions};
use crate::time::{Instant, UnixTime};
use crate::tunnel::OutboundId;
use crate::wire::garlic::{Clove, Delivery};
use crate::wire::hash::Hash;
use crate::wire::i2np::{DatabaseStore, Message, MessageType, StoreEntry};
use crate::wire::lease_set::{Contents, Lease, LeaseSet, LeaseSet2};
use crate::wire::mapping::Mapping;
use alloc::vec::Vec;
use core::time::Duration;

/// A change of tunnels waits this long for others before the lease set is built anew.
const REBUILD_DELAY: Duration = Duration::from_millis(1500);
/// Lease sets are distinguished by their second of publication.
const REBUILD_INTERVAL: Duration = Duration::from_secs(2);
/// A lease set that was not confirmed goes along again after this.
const LEASE_SET_REPEAT: Duration = Duration::from_secs(6);
/// A lease that was to last longer than this and is no more was lost.
pub(super) const LEASE_LOST: Duration = Duration::from_secs(60);
/// Remotes used within this are told of lost leases, ...
const ACTIVE: Duration = Duration::from_secs(60);
/// ... the latest so many.
const MAX_TOLD: usize = 16;

impl Destination {
    /// Our tunnels changed: the leases of the inbound ones, and the outbound ones. Says whether there
    /// are new ones.
    pub fn handle_tunnels(
        &mut self,
        now: Instant,
        unix: UnixTime,
        leases: Vec<Lease>,
        outbound: Vec<OutboundId>,
    ) -> bool {
        let new = outbound.iter().any(|id| !self.outbound.contains(id))
            || leases.iter().any(|l| !self.leases.iter().any(|old| same(old, l)));
        self.outbound = outbound;
        if self.leases != leases {
            self.leases = leases;
            let first = self.lease_set.is_none();
            let delay = if first { Duration::ZERO } else { REBUILD_DELAY };
            self.rebuild_at.get_or_insert(now + delay);
        }
        self.rebuild_if_due(now, unix);
        self.send_unsent(unix);
        self.send_waiting(now, unix);
        new
    }

    pub(super) fn rebuild_if_due(&mut self, now: Instant, unix: UnixTime) {
        let Some(due) = self.rebuild_at else { return };
        let earliest = self.rebuilt.map_or(now, |at| at + REBUILD_INTERVAL);
        if now < due || now < earliest {
            self.rebuild_at = Some(due.max(earliest));
            return;
        }
        self.rebuild_at = None;
        self.leases.retain(|l| l.expires > unix);
        let Some(end) = self.leases.iter().map(|l| l.expires).max() else { return };
        let key = self.sessions.public_key().0;
        let contents = Contents {
            published: UnixTime::from_secs(unix.as_secs().into()),
            expires: end,
            keys: &[(X25519, &key)],
            leases: &self.leases,
            options: &Mapping::new(),
            unpublished: !self.publish,
        };
        match LeaseSet2::build(&self.keys.identity, &contents, &self.keys.signing) {
            Ok(lease_set) => {
                self.rebuilt = Some(now);
                let old = self.lease_set.replace(lease_set.clone());
                // Not by their ends: a lease set tells those in whole seconds.
                let kept = |l: &Lease| self.leases.iter().any(|ours| same(ours, l));
                let lost = |l: &Lease| l.expires > unix + LEASE_LOST && !kept(l);
                if old.is_some_and(|old| old.leases().iter().any(lost)) {
                    self.tell_remotes(now, unix);
                }
                if self.publish {
                    self.actions.push_back(DestinationAction::Publish(lease_set));
                }
            }
            Err(e) => log::error!("our lease set cannot be built: {e}"),
        }
    }

    /// Our lease set as a clove: always when a session begins, since each of its first messages may
    /// be the only one that arrives, and else when `to` does not have this one for sure and was not
    /// sent it just now.
    pub(super) fn bundle(
        &mut self,
        now: Instant,
        unix: UnixTime,
        to: Hash,
        kind: Kind,
    ) -> Option<Clove> {
        let lease_set = self.lease_set.as_ref()?;
        let published = lease_set.published();
        let remote = self.remotes.get_mut(&to)?;
        let just_sent = remote.lease_set_sent.is_some_and(|(at, which)| {
            which == published && now.saturating_since(at) < LEASE_SET_REPEAT
        });
        let has_it = remote.lease_set_known == Some(published);
        if kind == Kind::Existing && (has_it || just_sent) {
            return None;
        }
        remote.lease_set_sent = Some((now, published));
        let entry = StoreEntry::LeaseSet(lease_set.clone());
        let mut body = Vec::new();
        DatabaseStore { reply: None, entry }.encode(&mut body);
        let message = Message {
            kind: MessageType::DATABASE_STORE,
            id: self.rng.nonzero_u32(),
            expires: unix + MESSAGE_LIFETIME,
            body,
        };
        Some(Clove { delivery: Delivery::Local, message })
    }

    /// Which of our lease sets a message carries now.
    pub(super) fn lease_set_version(&self) -> Option<UnixTime> {
        self.lease_set.as_ref().map(LeaseSet::published)
    }

    /// Tunnels of ours are gone before their time: who talks to us learns it now. One who only
    /// sends has no message of ours to learn it from, and with all our leases gone would go on into
    /// the void.
    fn tell_remotes(&mut self, now: Instant, unix: UnixTime) {
        let mut active: Vec<(Instant, Hash)> = self
            .remotes
            .iter()
            .filter(|(_, r)| now.saturating_since(r.last_used) < ACTIVE)
            .map(|(hash, r)| (r.last_used, *hash))
            .collect();
        active.sort_unstable_by(|a, b| b.cmp(a));
        for (_, hash) in active.into_iter().take(MAX_TOLD) {
            self.send_lease_set(now, unix, hash);
        }
    }

    /// Our lease set alone, in a session that exists.
    fn send_lease_set(&mut self, now: Instant, unix: UnixTime, to: Hash) {
        let Some(remote) = self.remotes.get_mut(&to) else { return };
        let Some(key) = remote.key() else { return };
        let Some(route) = remote.route(unix, &self.outbound, &mut self.rng) else { return };
        let peer = ecies::Remote { destination: to, key };
        match self.sessions.readiness(now, &peer) {
            // One message more in a full window is worth it.
            Readiness::Ready { kind: Kind::Existing, .. } | Readiness::Full(_) => {}
            Readiness::Ready { .. } | Readiness::Wait(_) => return,
        }
        let Some(clove) = self.bundle(now, unix, to, Kind::Existing) else { return };
        let options = SendOptions { bind: true, ack: true, expects_reply: false };
        match self.sessions.encrypt(now, unix, &peer, &[clove], options) {
            Ok((body, info)) => {
                self.expect_ack(now, info.ack, to, true);
                self.emit(unix, route, body, info.ack);
            }
            Err(e) => log::debug!("lease set not sent to {to:?}: {e}"),
        }
    }
}
