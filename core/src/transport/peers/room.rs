//! Who may have a session with us: limits on those who come.

use super::link::{Link, LinkId, Place};
use super::{Ending, Peers};
use crate::time::Instant;
use crate::transport::prefix;
use crate::wire::hash::Hash;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// Inbound streams that have not proved who they are: at most so many, and at most this part of the
/// sessions allowed. They come on top of the sessions, so that strangers cannot keep us from dialling.
const MAX_UNPROVEN: usize = 1024;
const UNPROVEN_PART: usize = 4;
/// The same from one IPv4 address or IPv6 /64.
const MAX_UNPROVEN_PER_PREFIX: usize = 4;
/// Peers that came to us have so much of the sessions at most: the rest is left for dialling.
const INBOUND_PART: (usize, usize) = (3, 4);
/// When they have it, one that carried no message for so long gives way to a new one.
pub(super) const IDLE: Duration = Duration::from_secs(30);
/// Sessions from one place, for peers that came to us. A place is an address that they publish, or
/// an IPv4 /24 or IPv6 /48 for those that publish none and could come in any number.
pub(super) const MAX_PER_PLACE: usize = 8;

impl Peers {
    /// Those who come to us over streams and have not proved who they are: so many at most.
    pub(super) fn strangers(&self) -> usize {
        MAX_UNPROVEN.min((self.config.sessions / UNPROVEN_PART).max(1))
    }

    /// Sessions and dials: all but strangers.
    pub(super) fn sessions(&self) -> usize {
        self.links.values().filter(|l| !l.is_stranger()).count()
    }

    /// Whether a stranger may be listened to.
    pub(super) fn has_room_for_stranger(&self, now: Instant, remote: SocketAddr) -> bool {
        let prefix = prefix(remote.ip());
        let (mut all, mut near) = (0, 0);
        for link in self.links.values().filter(|l| l.is_stranger()) {
            all += 1;
            near += usize::from(self::prefix(link.remote.ip()) == prefix);
        }
        let crowded = !self.config.reach.allow_local && near >= MAX_UNPROVEN_PER_PREFIX;
        all < self.strangers() && !crowded && self.has_inbound_room(now, remote.ip())
    }

    /// A new inbound session may be had, if need be in place of an idle one, or of an old one of the
    /// peer, if it is one that came back.
    fn has_inbound_room(&self, now: Instant, from: IpAddr) -> bool {
        let from = from.to_canonical();
        let known = |l: &Link| l.place.is_some() && l.remote.ip().to_canonical() == from;
        self.has_free_inbound()
            || self.idle_inbound(now).is_some()
            || self.links.values().any(known)
    }

    fn has_free_inbound(&self) -> bool {
        let (part, of) = INBOUND_PART;
        let most = (self.config.sessions.saturating_mul(part) / of).max(1);
        let inbound = self.links.values().filter(|l| l.place.is_some()).count();
        inbound < most && self.sessions() < self.config.sessions
    }

    /// The inbound session that carried nothing for the longest time, if that is long.
    fn idle_inbound(&self, now: Instant) -> Option<LinkId> {
        self.links
            .iter()
            .filter(|(_, l)| l.place.is_some() && now.saturating_since(l.used) > IDLE)
            .min_by_key(|(_, l)| l.used)
            .map(|(id, _)| *id)
    }

    /// Makes room for the inbound session `new` of `peer`; says whether there is some. A peer that
    /// comes back is not kept out by its old session: that does not count, or, where nothing is
    /// free, ends at once, so that who comes back fast has not several.
    pub(super) fn make_inbound_room(
        &mut self,
        now: Instant,
        place: Place,
        peer: Hash,
        new: LinkId,
    ) -> bool {
        let inbound = |id: &LinkId| self.links.get(id).is_some_and(|l| l.place.is_some());
        let old = self.by_peer.get(&peer).copied().filter(inbound);
        let here = self.links.iter().filter(|(_, l)| l.place == Some(place));
        let (mut others, mut all) = (0, 0);
        for (id, _) in here {
            all += 1;
            others += usize::from(Some(*id) != old);
        }
        let limited = !self.config.reach.allow_local;
        if limited && others >= MAX_PER_PLACE {
            return false;
        }
        if self.has_free_inbound() && !(limited && all >= MAX_PER_PLACE) {
            return true;
        }
        // The old one no longer speaks for the peer, so that its end is not the peer's.
        let (victim, ending) = if let Some(old) = old {
            self.by_peer.insert(peer, new);
            (old, Ending::Normal)
        } else if let Some(idle) = self.idle_inbound(now) {
            (idle, Ending::Idle)
        } else {
            return false;
        };
        self.close(now, victim, ending);
        true
    }
}
