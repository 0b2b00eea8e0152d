//! Being a floodfill: keeping what others publish, passing it on, and answering for it (netdb
//! documentation, "Floodfill"; notes 7.2 and 7.5).
//!
//! What is kept here was published, by a store that asked for it to be kept or passed on by
//! another floodfill. It has nothing to do with what the router's own destinations know: those
//! ask other floodfills, as everybody does, and their lease sets are published to others.

mod enrol;
mod kept;

pub use enrol::Fitness;
pub use kept::MAX_KEPT;

use super::answer::Throttle;
use super::choose::Choice;
use super::routing_key::{RoutingKey, until_midnight};
use super::store::{Bucket, Source, StoreError, Stored};
use super::{Context, NetDb, NetDbAction, compare};
use crate::audit::Audit;
use crate::config;
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use crate::wire::i2np::{DatabaseStore, StoreEntry, StoreReply};
use crate::wire::lease_set::LeaseSet;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;
use enrol::Enrolment;
use kept::{Floods, Kept};

/// An entry is passed on to so many of the floodfills nearest to its key, ...
const FLOOD_TO: usize = 3;
/// ... and, this long before midnight, to so many that will be nearest then.
const FLOOD_TO_TOMORROW: usize = 2;
const TOMORROW_ROUTER_INFO: Duration = Duration::from_secs(45 * 60);
const TOMORROW_LEASE_SET: Duration = Duration::from_secs(10 * 60);
/// Lease sets whose signature is checked: so many a second and at once, of all peers together, of
/// one of them in two minutes, and of those that nobody knows.
const FROM_PEERS: (u64, u64) = (200, 400);
const PER_PEER: u32 = 1_200;
const FROM_UNKNOWN: (u64, u64) = (100, 300);
/// The same of those that one hop brought in garlic, in two minutes: nobody knows who published
/// them, but whoever floods us does it through tunnels that end somewhere.
const PER_HOP: u32 = 600;
/// Confirmations to whom we are told to send them: so many a second and at once.
pub(super) const CONFIRMATIONS: (u64, u64) = (200, 400);
/// A larger lease set is not kept; that of sixteen leases and all keys has half of it.
const MAX_LEASE_SET: usize = 4_096;
/// Copies on their way that may have to go to somebody else instead, and for how long.
const MAX_OWED: usize = 64;
const OWED: Duration = Duration::from_secs(30);
/// Floodfills that one entry is offered to.
const MAX_TRIED: usize = 12;
/// RouterInfos passed on lately that are counted; when full, none is passed on for a while.
const MAX_FLOODED: usize = 4_096;

/// What a floodfill did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FloodfillStats {
    /// Lease sets kept now.
    pub kept: usize,
    /// Entries that were new, or newer.
    pub stored: u64,
    /// Entries that were refused.
    pub refused: u64,
    /// Copies passed on to other floodfills.
    pub flooded: u64,
    /// Lookups answered with the entry.
    pub found: u64,
    /// Lookups answered with the names of others.
    pub referred: u64,
}

/// The role, and its state while we have it.
pub(super) struct Role {
    mode: config::Floodfill,
    enrolment: Enrolment,
    pub(super) floodfill: Option<Floodfill>,
}

/// A floodfill's state.
pub(super) struct Floodfill {
    kept: Kept,
    /// RouterInfos passed on.
    flooded: BTreeMap<Hash, Flooded>,
    peers: Throttle,
    hops: Throttle,
    unknown: Bucket,
    owed: Vec<Owed>,
    /// Lookups of those who hide, by where the answers go.
    pub(super) lookups: Throttle,
    pub(super) stats: FloodfillStats,
}

impl Role {
    /// What is held, and what may be.
    pub(super) fn audit(&self, audit: &mut Audit<'_>) {
        let Some(floodfill) = &self.floodfill else { return };
        floodfill.kept.audit(audit);
        audit.see("floodfill: routers flooded", floodfill.flooded.len(), MAX_FLOODED);
        audit.see("floodfill: copies that may not have left", floodfill.owed.len(), MAX_OWED);
        for owed in &floodfill.owed {
            audit.see("floodfill: tried for a copy", owed.tried.len(), MAX_TRIED);
        }
        for throttle in [&floodfill.peers, &floodfill.hops, &floodfill.lookups] {
            throttle.audit(audit);
        }
    }
}

/// How often, and in which version at last, a RouterInfo was passed on.
struct Flooded {
    floods: Floods,
    version: UnixTime,
}

/// A copy that was sent, and may turn out not to have left.
struct Owed {
    since: Instant,
    to: Hash,
    entry: StoreEntry,
    /// Who got one, or did not.
    tried: Vec<Hash>,
}

/// Who brought a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A peer, over its session.
    Peer(Hash),
    /// Somebody unknown: in garlic, which this peer passed on, or nobody but ourselves.
    Hidden(Option<Hash>),
}

impl Origin {
    const fn peer(self) -> Option<Hash> {
        match self {
            Self::Peer(peer) => Some(peer),
            Self::Hidden(_) => None,
        }
    }
}

impl Role {
    pub(super) const fn new(now: Instant) -> Self {
        let mode = config::Floodfill::Off;
        Self { mode, enrolment: Enrolment::new(now), floodfill: None }
    }

    pub(super) fn sweep(&mut self, now: Instant, unix: UnixTime) {
        if let Some(floodfill) = &mut self.floodfill {
            floodfill.kept.sweep(unix);
            floodfill.flooded.retain(|_, flooded| !flooded.floods.is_over(now));
        }
    }

    pub(super) const fn wants_assessment(&self) -> bool {
        matches!(self.mode, config::Floodfill::Auto)
    }
}

impl Floodfill {
    const fn new(local: Hash, now: Instant) -> Self {
        Self {
            kept: Kept::new(local),
            flooded: BTreeMap::new(),
            peers: Throttle::new(now, PER_PEER, FROM_PEERS),
            hops: Throttle::new(now, PER_HOP, FROM_UNKNOWN),
            owed: Vec::new(),
            unknown: Bucket::new(now, FROM_UNKNOWN.0, FROM_UNKNOWN.1),
            lookups: Throttle::of_lookups(now, true),
            stats: FloodfillStats {
                kept: 0,
                stored: 0,
                refused: 0,
                flooded: 0,
                found: 0,
                referred: 0,
            },
        }
    }

    /// What was published under `key`.
    pub(super) fn lease_set(&self, key: &Hash, unix: UnixTime) -> Option<&LeaseSet> {
        self.kept.get(key, unix)
    }

    /// The cheap checks of a lease set.
    fn check(
        &mut self,
        now: Instant,
        unix: UnixTime,
        from: Origin,
        set: &LeaseSet,
    ) -> Result<Stored, StoreError> {
        if set.is_unpublished() || set.as_bytes().len() > MAX_LEASE_SET {
            return Err(StoreError::Unwanted);
        }
        super::context::check_lease_set(set, unix)?;
        let key = set.key();
        let stored = compare(self.kept.get(&key, unix), set, LeaseSet::published)?;
        if stored == Stored::Known {
            return Ok(stored);
        }
        self.kept.turn(unix);
        if !self.kept.has_room(&key, unix) {
            return Err(StoreError::TooFar);
        }
        let admitted = match from {
            Origin::Peer(peer) => self.peers.admit(now, peer),
            Origin::Hidden(Some(hop)) => self.hops.admit(now, hop),
            Origin::Hidden(None) => self.unknown.take(now),
        };
        if admitted { Ok(stored) } else { Err(StoreError::Throttled) }
    }

    fn may_flood(&mut self, now: Instant, entry: &StoreEntry) -> bool {
        let key = entry.key();
        match entry {
            StoreEntry::LeaseSet(_) => self.kept.may_flood(now, &key),
            StoreEntry::RouterInfo(info) => {
                let room = self.flooded.len() < MAX_FLOODED || self.flooded.contains_key(&key);
                let flooded = || Flooded { floods: Floods::new(now), version: info.published() };
                room && {
                    let flooded = self.flooded.entry(key).or_insert_with(flooded);
                    flooded.version = info.published();
                    flooded.floods.take(now)
                }
            }
        }
    }
}

impl NetDb {
    /// Whether we are a floodfill from now on: always, never, or when [`NetDbAction::Assess`]
    /// shows that we are fit.
    pub fn set_role(&mut self, now: Instant, mode: config::Floodfill) {
        self.role.mode = mode;
        match mode {
            config::Floodfill::On => self.serve(now, true),
            config::Floodfill::Off => self.serve(now, false),
            config::Floodfill::Auto => {}
        }
    }

    /// Whether we are one now; our RouterInfo has to say so.
    #[must_use]
    pub const fn is_floodfill(&self) -> bool {
        self.role.floodfill.is_some()
    }

    /// What we did as a floodfill; `None` when we are none.
    #[must_use]
    pub fn floodfill_stats(&self) -> Option<FloodfillStats> {
        let floodfill = self.role.floodfill.as_ref()?;
        Some(FloodfillStats { kept: floodfill.kept.len(), ..floodfill.stats })
    }

    /// The answer to [`NetDbAction::Assess`].
    pub fn handle_fitness(&mut self, now: Instant, fitness: &Fitness) {
        if !self.role.wants_assessment() {
            return;
        }
        let fit = self.role.enrolment.decide(now, self.routers.len(), fitness);
        if fit != self.is_floodfill() {
            let what = if fit { "we are a floodfill now" } else { "no longer a floodfill" };
            log::info!("{what}: {} routers known, {fitness:?}", self.routers.len());
            self.serve(now, fit);
            self.push(NetDbAction::Renew);
        }
    }

    fn serve(&mut self, now: Instant, serve: bool) {
        let local = self.config.local;
        match (serve, &self.role.floodfill) {
            (true, None) => self.role.floodfill = Some(Floodfill::new(local, now)),
            (false, Some(_)) => self.role.floodfill = None,
            (true, Some(_)) | (false, None) => {}
        }
        self.routers.set_floodfill(serve);
        self.throttle = Throttle::of_lookups(now, serve);
    }

    /// A DatabaseStore that is no answer in garlic to a question of ours. A floodfill keeps it,
    /// confirms it if that is asked for, and then passes it on too.
    ///
    /// Confirmed is only what is kept: whoever publishes tries another floodfill otherwise. And, by
    /// every router, its own RouterInfo: with that Java tests whether somebody is there.
    pub fn handle_published(
        &mut self,
        now: Instant,
        unix: UnixTime,
        from: Origin,
        store: DatabaseStore,
    ) -> Result<Stored, StoreError> {
        let DatabaseStore { reply, entry } = store;
        let result = match (&entry, from.peer()) {
            (StoreEntry::LeaseSet(set), _) => self.keep_lease_set(now, unix, from, set),
            (StoreEntry::RouterInfo(_), Some(_)) => {
                let store = DatabaseStore { reply: None, entry: entry.clone() };
                self.handle_store(now, unix, Context::ROUTER, from.peer(), store)
            }
            // Over a session it may also be the answer to whether a floodfill has it: as above.
            (StoreEntry::RouterInfo(info), None) if info.hash() == self.config.local => {
                Err(StoreError::Own)
            }
            // Who hides behind a tunnel speaks to floodfills only.
            (StoreEntry::RouterInfo(_), None) if !self.is_floodfill() => Err(StoreError::Unwanted),
            (StoreEntry::RouterInfo(info), None) => {
                let fresh = self.routers.check(now, unix, info, Source::Others);
                match fresh {
                    Ok(Stored::New | Stored::Newer) if !self.newcomers.take(now) => {
                        Err(StoreError::Throttled)
                    }
                    Ok(_) => self.insert_checked(now, unix, info.clone(), Source::Others),
                    Err(e) => Err(e),
                }
            }
        };
        if result == Err(StoreError::Own) {
            if let Some(reply) = reply {
                self.confirm(now, from, reply);
            }
            return result;
        }
        let Some(floodfill) = &mut self.role.floodfill else { return result };
        match result {
            Ok(Stored::New | Stored::Newer) => floodfill.stats.stored += 1,
            // What it wants kept is superseded already.
            Ok(Stored::Known) | Err(StoreError::Older) => {}
            Err(_) => {
                floodfill.stats.refused += 1;
                return result;
            }
        }
        // Who opens a session shows its RouterInfo before it publishes it: that we know it then does
        // not mean that others do.
        let shown = match &entry {
            StoreEntry::RouterInfo(info) => {
                result == Ok(Stored::Known)
                    && from == Origin::Peer(info.hash())
                    && floodfill
                        .flooded
                        .get(&info.hash())
                        .is_none_or(|flooded| flooded.version < info.published())
            }
            StoreEntry::LeaseSet(_) => false,
        };
        let Some(reply) = reply else { return result };
        self.confirm(now, from, reply);
        if shown || matches!(result, Ok(Stored::New | Stored::Newer)) {
            self.flood(now, unix, from.peer(), entry);
        }
        result
    }

    fn keep_lease_set(
        &mut self,
        now: Instant,
        unix: UnixTime,
        from: Origin,
        set: &LeaseSet,
    ) -> Result<Stored, StoreError> {
        let floodfill = self.role.floodfill.as_mut().ok_or(StoreError::Unwanted)?;
        let stored = floodfill.check(now, unix, from, set)?;
        if stored != Stored::Known {
            set.verify().map_err(|_| StoreError::BadSignature)?;
            floodfill.kept.insert(now, unix, set.clone());
        }
        Ok(stored)
    }

    /// Says that an entry arrived. Without a tunnel only to who sent it: we connect to nobody on a
    /// stranger's request.
    fn confirm(&mut self, now: Instant, from: Origin, reply: StoreReply) {
        let StoreReply { token, tunnel, gateway } = reply;
        if (tunnel.is_some() || Some(gateway) == from.peer()) && self.confirmations.take(now) {
            self.push(NetDbAction::Confirm { to: gateway, tunnel, token });
        }
    }

    /// Passes an entry on to the floodfills nearest to its key: not to who sent it, nor to whom it
    /// describes.
    fn flood(&mut self, now: Instant, unix: UnixTime, from: Option<Hash>, entry: StoreEntry) {
        let Some(floodfill) = &mut self.role.floodfill else { return };
        if !floodfill.may_flood(now, &entry) {
            return;
        }
        let key = entry.key();
        let mut exclude: Vec<Hash> = from.into_iter().chain([key]).collect();
        let days = [
            (unix, FLOOD_TO, Duration::MAX),
            (
                unix + until_midnight(unix),
                FLOOD_TO_TOMORROW,
                match &entry {
                    StoreEntry::RouterInfo(_) => TOMORROW_ROUTER_INFO,
                    StoreEntry::LeaseSet(_) => TOMORROW_LEASE_SET,
                },
            ),
        ];
        for (day, count, window) in days {
            if until_midnight(unix) > window {
                continue;
            }
            let target = RoutingKey::new(&key, day);
            let ctx = Context::ROUTER;
            let choice = Choice { ctx, target, floor: 0, direct: true, exclude: &exclude, count };
            let chosen = self.choose(now, &choice);
            exclude.extend(&chosen);
            for to in chosen {
                self.pass_on(now, to, entry.clone(), exclude.clone());
            }
        }
    }

    fn pass_on(&mut self, now: Instant, to: Hash, entry: StoreEntry, tried: Vec<Hash>) {
        let Some(floodfill) = &mut self.role.floodfill else { return };
        floodfill.stats.flooded += 1;
        floodfill.owed.retain(|o| now.saturating_since(o.since) <= OWED);
        if floodfill.owed.len() >= MAX_OWED {
            floodfill.owed.remove(0);
        }
        floodfill.owed.push(Owed { since: now, to, entry: entry.clone(), tried });
        self.push(NetDbAction::Flood { to, entry });
    }

    /// A copy that [`NetDbAction::Flood`] asked for could not be sent to `router`, or what was sent
    /// to it lately did not leave: the next floodfill gets it.
    pub fn handle_flood_unsent(&mut self, now: Instant, unix: UnixTime, router: Hash) {
        let Some(floodfill) = &mut self.role.floodfill else { return };
        floodfill.owed.retain(|o| now.saturating_since(o.since) <= OWED);
        let lost: Vec<Owed> = floodfill.owed.extract_if(.., |o| o.to == router).collect();
        for Owed { entry, mut tried, .. } in lost {
            // Nor to whom the other copies went.
            if let Some(floodfill) = &self.role.floodfill {
                let others = floodfill.owed.iter().filter(|o| o.entry.key() == entry.key());
                tried.extend(others.map(|o| o.to));
                tried.sort_unstable();
                tried.dedup();
            }
            if tried.len() >= MAX_TRIED {
                continue;
            }
            let target = RoutingKey::new(&entry.key(), unix);
            let ctx = Context::ROUTER;
            let choice = Choice { ctx, target, floor: 0, direct: true, exclude: &tried, count: 1 };
            if let Some(next) = self.choose(now, &choice).first().copied() {
                tried.push(next);
                self.pass_on(now, next, entry, tried);
            }
        }
    }
}
