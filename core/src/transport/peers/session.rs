//! Sessions that come up and end: one a peer.

use super::link::{Link, LinkId, Place};
use super::{Ending, PeerEvent, Peers};
use crate::time::{Instant, UnixTime};
use crate::transport::{Peer, ntcp2};
use crate::wire::hash::Hash;
use core::time::Duration;

/// Two sessions with one peer that come up within this have crossed: each of us dialled the other.
pub(super) const CROSSING: Duration = Duration::from_secs(10);
/// A session that another one took over from is read this much longer, for what is on its way.
pub(super) const RETIREMENT: Duration = Duration::from_secs(5);
/// Failures say something of others only while we hear somebody: this long ago at most.
pub(super) const HEARD_LATELY: Duration = Duration::from_secs(10);
/// When dials of so many peers failed within this time and none did not, that says more of us than
/// of the peers.
pub(super) const MANY_FAILED: usize = 8;
pub(super) const FAILED_LATELY: Duration = Duration::from_secs(120);
/// Peers whose last dial failed that we remember; the oldest is forgotten.
pub(super) const MAX_FAILED: usize = 1024;

impl Peers {
    pub(super) fn established(&mut self, now: Instant, id: LinkId, peer: Peer, skew: i64) {
        let Some(link) = self.links.get(&id) else { return };
        let (hash, remote) = (peer.hash(), link.remote);
        let place = match &peer {
            // SSU2's endpoint looked at that itself.
            Peer::Inbound { info, .. }
                if matches!(id, LinkId::Stream(_))
                    && !self.config.reach.allow_local
                    && !ntcp2::source_matches(info, remote.ip()) =>
            {
                return self.close(now, id, Ending::Banned);
            }
            Peer::Inbound { info, .. } => Some(Place::of(remote.ip(), info)),
            Peer::Outbound(_) => None,
        };
        if let Some(place) = place
            && !self.make_inbound_room(now, place, hash, id)
        {
            log::debug!("no room for a session with {hash:?}");
            return self.close(now, id, Ending::Normal);
        }
        let Some(link) = self.links.get_mut(&id) else { return };
        link.up_at = Some(now);
        link.used = now;
        link.place = place;
        link.peer = Some(hash);
        link.routes.clear();
        let dialled = !link.inbound;
        self.heard = Some(now);
        if dialled {
            self.reached = Some(now);
        }
        log::debug!("session with {hash:?} is up ({id:?}), clock differs by {skew} s");
        self.failed.remove(&hash);
        self.choose_session(now, hash, id);
        self.send_waiting(now, id);
        // What was to be told of us while it was set up is told now.
        self.update(id);
        let info = match peer {
            Peer::Inbound { info, .. } => Some(info),
            Peer::Outbound(_) => None,
        };
        self.events.push_back(PeerEvent::Up { peer: hash, info, dialled });
    }

    /// What waited for a session that is up now is sent.
    fn send_waiting(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let mut waiting = core::mem::take(&mut link.waiting);
        while let Some((message, priority)) = waiting.take_first() {
            self.queue(now, id, message, priority);
        }
    }

    /// One session a peer: a newer one takes over, since a peer that dials has none. Sessions that
    /// crossed are the exception: both ends must keep the same one, which is that of the dialler
    /// with the smaller hash. The other one is read for a while, and takes over again if the peer
    /// decides otherwise.
    fn choose_session(&mut self, now: Instant, peer: Hash, new: LinkId) {
        let Some(old) = self.by_peer.insert(peer, new).filter(|old| *old != new) else { return };
        let Some(old_link) = self.links.get_mut(&old) else { return };
        let Some(old_up) = old_link.up_at else {
            // It comes to this again when it is up; what waited for that can be sent now.
            let waiting = core::mem::take(&mut old_link.waiting);
            if let Some(link) = self.links.get_mut(&new) {
                link.waiting = waiting;
            }
            return;
        };
        let old_inbound = old_link.inbound;
        let Some(new_link) = self.links.get(&new) else { return };
        let crossed = old_inbound != new_link.inbound && now.saturating_since(old_up) < CROSSING;
        // Ours is the better one when our hash is the smaller one.
        let keep_inbound = peer < *self.config.local.hash();
        let loser = if crossed && old_inbound == keep_inbound { new } else { old };
        if loser == new {
            self.by_peer.insert(peer, old);
        }
        if let Some(link) = self.links.get_mut(&loser) {
            link.retire_at = Some(now + RETIREMENT);
        }
        self.update(loser);
    }

    /// The session with `peer` is over; says whether another one takes over.
    fn fall_back(&mut self, peer: Hash) -> bool {
        let other = |l: &Link| l.peer == Some(peer) && l.is_up();
        let Some(id) = self.links.iter().rev().find(|(_, l)| other(l)).map(|(id, _)| *id) else {
            return false;
        };
        if let Some(link) = self.links.get_mut(&id) {
            link.retire_at = None;
        }
        self.by_peer.insert(peer, id);
        self.update(id);
        true
    }

    /// A session ended, or did not come about.
    pub(super) fn closed(&mut self, now: Instant, unix: UnixTime, id: LinkId) {
        let Some(mut link) = self.remove(id) else { return };
        let Some(peer) = link.peer.filter(|p| self.by_peer.get(p) == Some(&id)) else { return };
        self.by_peer.remove(&peer);
        if link.is_up() {
            if !self.fall_back(peer) {
                self.events.push_back(PeerEvent::Down { peer });
            }
            return;
        }
        // There may be another way to it.
        let waiting = core::mem::take(&mut link.waiting);
        if !self.closing && self.dial_next(now, unix, peer, &mut link.routes, waiting) {
            return;
        }
        self.remember_failure(now, peer);
        let blame = !self.is_offline(now) && self.failed_in_row(now) < MANY_FAILED;
        self.events.push_back(PeerEvent::Unreachable { peer, blame });
    }

    /// Whether we seem to be off line: no session brought anything lately. Then what fails says
    /// nothing of others.
    pub(crate) fn is_offline(&self, now: Instant) -> bool {
        let lately = |at| now.saturating_since(at) < HEARD_LATELY;
        !(self.heard.is_some_and(lately) && self.links.values().any(Link::is_up))
    }

    /// Peers that we failed to reach lately, and since we reached one.
    fn failed_in_row(&self, now: Instant) -> usize {
        let counts = |at: Instant| {
            now.saturating_since(at) < FAILED_LATELY && self.reached.is_none_or(|r| r < at)
        };
        self.failed.values().filter(|at| counts(**at)).count()
    }

    fn remember_failure(&mut self, now: Instant, peer: Hash) {
        if self.failed.len() >= MAX_FAILED {
            let oldest = self.failed.iter().min_by_key(|(_, at)| **at).map(|(h, _)| *h);
            if let Some(oldest) = oldest {
                self.failed.remove(&oldest);
            }
        }
        self.failed.insert(peer, now);
    }
}
