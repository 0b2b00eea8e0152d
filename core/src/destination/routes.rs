//! What one destination knows of another, and which of its leases to use.

use crate::crypto::x25519::PublicKey;
use crate::garlic::ecies::SessionId;
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};
use crate::tunnel::OutboundId;
use crate::wire::hash::Hash;
use crate::wire::lease_set::{Lease, LeaseSet};
use crate::wire::payload::Payload;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

/// A lookup that failed is not repeated before this, doubled with each failure ...
const RETRY: Duration = Duration::from_secs(4);
/// ... so many times.
const MAX_DOUBLINGS: u32 = 2;
/// A lease set whose leases do not work is not asked for anew before this.
pub(super) const REFRESH_AGAIN: Duration = Duration::from_secs(5);
/// After so many timeouts in a row it is asked for although some lease was not tried.
const MANY_TIMEOUTS: u32 = 2;
/// A lease set is looked up again when all its leases end within this.
const REFRESH_BEFORE: Duration = Duration::from_secs(45);
/// A lease that ends within this is not used any more.
const MIN_LEASE_LEFT: Duration = Duration::from_secs(10);
/// How far clocks may differ.
const MAX_AHEAD: Duration = Duration::from_secs(120);
/// Routes that failed lately and are avoided while there are others.
const MAX_FAILED: usize = 8;
/// Sessions of which it is remembered which lease set of ours began them; the oldest is forgotten.
const MAX_BEGUN: usize = 8;

/// Where the lookup of a remote's lease set stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolution {
    /// Not asked for.
    Idle,
    /// Under way.
    Running,
    /// Failed, and not to be repeated before this.
    Failed { retry_at: Instant },
}

/// Why a destination cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unresolved {
    /// Nobody has its lease set.
    #[error("lease set not found")]
    NotFound,
    /// Its lease set is over, or not fit for another reason than its keys.
    #[error("lease set expired")]
    Expired,
    /// Its lease set lists no key of a type that we speak.
    #[error("no encryption type in common")]
    Unsupported,
    /// We had no tunnels to ask through.
    #[error("no tunnels")]
    NoTunnels,
}

/// One way to a remote: our tunnel and its lease.
#[derive(Clone, Copy)]
pub(super) struct Route {
    pub(super) via: OutboundId,
    pub(super) lease: Lease,
}

/// A payload that cannot be sent yet.
pub(super) struct Waiting {
    pub(super) payload: Payload,
    pub(super) expects_reply: bool,
}

/// Another destination.
pub(super) struct Remote {
    pub(super) lease_set: Option<LeaseSet>,
    pub(super) resolution: Resolution,
    /// Somebody waits for the identity.
    pub(super) wanted: bool,
    pub(super) last_used: Instant,
    /// We turned to it, or answered it.
    pub(super) addressed: bool,
    /// Publication second of our lease set that it has confirmed.
    pub(super) lease_set_known: Option<UnixTime>,
    /// When, and which of our lease sets, went along last.
    pub(super) lease_set_sent: Option<(Instant, UnixTime)>,
    /// Sessions that are not established yet, and which of our lease sets it has for sure once one
    /// of them is: the oldest that one of the session's messages brought, if each brought one.
    begun: VecDeque<(SessionId, Option<UnixTime>)>,
    /// Lookups in a row that failed.
    failures: u32,
    route: Option<Route>,
    failed: VecDeque<(Hash, u32)>,
    /// When a newer lease set was asked for because the leases did not work.
    refreshed: Option<Instant>,
}

impl Remote {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            lease_set: None,
            resolution: Resolution::Idle,
            wanted: false,
            last_used: now,
            addressed: false,
            lease_set_known: None,
            lease_set_sent: None,
            begun: VecDeque::new(),
            failures: 0,
            route: None,
            failed: VecDeque::new(),
            refreshed: None,
        }
    }

    /// Whether messages can be sent to it as far as we know.
    pub(super) fn reachable(&self, unix: UnixTime) -> Result<&LeaseSet, Unresolved> {
        let lease_set = self.lease_set.as_ref().ok_or(Unresolved::NotFound)?;
        if self.usable_until().is_none_or(|end| end <= unix + MIN_LEASE_LEFT) {
            return Err(Unresolved::Expired);
        }
        self.key().ok_or(Unresolved::Unsupported)?;
        Ok(lease_set)
    }

    /// True when there is nothing usable, or not for long.
    pub(super) fn lacks_lease_set(&self, unix: UnixTime) -> bool {
        self.key().is_none() || self.usable_until().is_none_or(|end| end < unix + REFRESH_BEFORE)
    }

    /// A lookup ended: with something that can be used, or not.
    pub(super) fn looked_up(&mut self, now: Instant, found: bool) {
        if found {
            self.failures = 0;
            self.resolution = Resolution::Idle;
        } else {
            let wait = RETRY * (1 << self.failures.min(MAX_DOUBLINGS));
            self.failures = self.failures.saturating_add(1);
            self.resolution = Resolution::Failed { retry_at: now + wait };
        }
    }

    /// True when a newer lease set should be asked for although this one has not ended: its tunnels
    /// may be gone long before their time.
    pub(super) fn wants_refresh(&mut self, now: Instant, unix: UnixTime, timeouts: u32) -> bool {
        let mut live = self.leases().iter().filter(|l| l.expires > unix + MIN_LEASE_LEFT);
        let worn_out =
            timeouts >= MANY_TIMEOUTS || live.all(|l| self.failed.contains(&(l.gateway, l.tunnel)));
        let lately = self.refreshed.is_some_and(|at| now.saturating_since(at) < REFRESH_AGAIN);
        let busy = match self.resolution {
            Resolution::Running => true,
            Resolution::Failed { retry_at } => retry_at > now,
            Resolution::Idle => false,
        };
        let wants = worn_out && !lately && !busy;
        if wants {
            self.refreshed = Some(now);
        }
        wants
    }

    /// A new session or a reply left with this lease set of ours. The peer may go on from any one of
    /// several replies.
    pub(super) fn begin(&mut self, session: SessionId, lease_set: Option<UnixTime>) {
        if let Some((_, oldest)) = self.begun.iter_mut().find(|(id, _)| *id == session) {
            *oldest = lease_set.min(*oldest);
            return;
        }
        if self.begun.len() >= MAX_BEGUN {
            self.begun.pop_front();
        }
        self.begun.push_back((session, lease_set));
    }

    /// It has what this session began with.
    pub(super) fn established(&mut self, session: SessionId) {
        let Some(at) = self.begun.iter().position(|(id, _)| *id == session) else { return };
        if let Some((_, Some(lease_set))) = self.begun.remove(at) {
            self.lease_set_known = Some(lease_set);
        }
    }

    /// The ratchet key that its lease set lists.
    pub(super) fn key(&self) -> Option<PublicKey> {
        let key = self.lease_set.as_ref()?.encryption_key(super::X25519)?;
        key.try_into().map(PublicKey).ok()
    }

    /// Takes a newer lease set; an older one changes nothing. One from the future is not taken, and
    /// what was taken while our clock was wrong does not stay: it would keep out the true ones.
    pub(super) fn learn(&mut self, unix: UnixTime, lease_set: LeaseSet) -> bool {
        if is_future(&lease_set, unix) {
            log::debug!("lease set from the future dropped");
            return false;
        }
        let known = self.lease_set.as_ref().filter(|old| !is_future(old, unix));
        if known.is_some_and(|old| old.published() >= lease_set.published()) {
            return false;
        }
        self.lease_set = Some(lease_set);
        if let Some(route) = self.route
            && !self.leases().iter().any(|l| same(l, &route.lease))
        {
            self.route = None;
        }
        true
    }

    /// The route in use, or a new one: any lease that lasts, not one that failed lately while there
    /// are others.
    pub(super) fn route(
        &mut self,
        unix: UnixTime,
        outbound: &[OutboundId],
        rng: &mut Rng,
    ) -> Option<Route> {
        if let Some(route) = self.route
            && route.lease.expires > unix + MIN_LEASE_LEFT
            && outbound.contains(&route.via)
        {
            return Some(route);
        }
        let lasting: Vec<Lease> =
            self.leases().iter().filter(|l| l.expires > unix + MIN_LEASE_LEFT).copied().collect();
        let good: Vec<Lease> = lasting
            .iter()
            .filter(|l| !self.failed.contains(&(l.gateway, l.tunnel)))
            .copied()
            .collect();
        let choice = if good.is_empty() { &lasting } else { &good };
        let lease = *choice.get(rng.index(choice.len()))?;
        let kept = self.route.map(|r| r.via).filter(|via| outbound.contains(via));
        let via = match kept {
            Some(via) => via,
            None => *outbound.get(rng.index(outbound.len()))?,
        };
        let route = Route { via, lease };
        self.route = Some(route);
        Some(route)
    }

    /// The route does not seem to work: the next message takes another lease and tunnel.
    pub(super) fn abandon_route(&mut self) {
        if let Some(route) = self.route.take() {
            if self.failed.len() >= MAX_FAILED {
                self.failed.pop_front();
            }
            self.failed.push_back((route.lease.gateway, route.lease.tunnel));
        }
    }

    fn leases(&self) -> &[Lease] {
        self.lease_set.as_ref().map_or(&[], LeaseSet::leases)
    }

    fn usable_until(&self) -> Option<UnixTime> {
        self.leases().iter().map(|l| l.expires).max()
    }
}

/// Made later than now. The first kind does not tell when it was made.
fn is_future(set: &LeaseSet, unix: UnixTime) -> bool {
    !matches!(set, LeaseSet::V1(_)) && set.published() > unix + MAX_AHEAD
}

/// Two leases of one tunnel, whatever their ends.
pub(super) fn same(a: &Lease, b: &Lease) -> bool {
    a.gateway == b.gateway && a.tunnel == b.tunnel
}
