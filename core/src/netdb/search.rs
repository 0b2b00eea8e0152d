//! Lookups: starting them, what the answers mean, and what follows when they end.

use super::choose::Choice;
use super::lookup::{
    Answered, Limits, Lookup, LookupFailure, MAX_QUERIES_PER_PATH, Start, Step, Unsent,
};
use super::profile::Outcome;
use super::publish::Verdict;
use super::routing_key::RoutingKey;
use super::store::MAX_AHEAD;
use super::{
    Context, LookupId, LookupKind, NetDb, NetDbAction, StoreEntry, StoreError, Timer, traits,
};
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use crate::wire::i2np::{DatabaseSearchReply, LookupType};
use crate::wire::lease_set::LeaseSet;
use crate::wire::router_info::RouterInfo;
use alloc::vec::Vec;
use core::time::Duration;

/// Lookups under way at once, inner ones included.
pub const MAX_LOOKUPS: usize = 256;
/// Of these, what the callers of one context may have.
const MAX_LOOKUPS_PER_CONTEXT: usize = 64;
/// Routers of one search reply that are looked at.
const MAX_NAMED: usize = 16;
/// RouterInfos that one lookup fetches in order to ask their routers.
const MAX_FETCHES: usize = 6;
/// A whole lookup.
const TOTAL: Duration = Duration::from_secs(18);

/// Why a lookup runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Somebody wants the entry.
    Caller,
    /// To hear of new routers.
    Explore,
    /// The RouterInfo of a floodfill that was named to another lookup, on this path of it.
    Fetch { parent: LookupId, path: usize },
    /// The RouterInfo of a router that we heard of.
    Wanted,
    /// Whether our own entry is there.
    Verify,
}

/// A lookup and what it is for.
pub(crate) struct Active {
    pub(crate) ctx: Context,
    pub(super) key: Hash,
    pub(super) kind: LookupType,
    pub(super) purpose: Purpose,
    pub(super) machine: Lookup,
    /// The version that was known before.
    have: Option<UnixTime>,
    /// A floodfill answered with that same version.
    same: bool,
    /// A floodfill answered with something that was refused.
    refused: Option<StoreError>,
    /// RouterInfos fetched for it.
    fetches: usize,
}

impl Active {
    pub(super) const fn new(
        ctx: Context,
        key: Hash,
        kind: LookupType,
        purpose: Purpose,
        machine: Lookup,
    ) -> Self {
        let (have, same, refused, fetches) = (None, false, None, 0);
        Self { ctx, key, kind, purpose, machine, have, same, refused, fetches }
    }

    /// Whether what `from` sent over its session can be an answer to this. What came in answer to a
    /// question of ours names nobody; anybody else's word counts only if it is true in itself.
    fn is_answered_by(&self, from: Option<Hash>) -> bool {
        from.is_none_or(|from| self.machine.waits_for(&from))
    }

    /// Asked over sessions and not through tunnels.
    fn is_direct(&self) -> bool {
        self.purpose == Purpose::Verify && self.kind == LookupType::RouterInfo
    }
}

impl NetDb {
    /// Looks for an entry in the network, whether it is known here or not: ask
    /// [`Self::router`] or [`Self::lease_set`] first. Ends with `Found` or `NotFound`, at the
    /// latest after 18 s. A second lookup of the same in the same context is the first one, and
    /// ends once.
    pub fn lookup(
        &mut self,
        now: Instant,
        unix: UnixTime,
        ctx: Context,
        key: Hash,
        kind: LookupKind,
    ) -> LookupId {
        let kind = match kind {
            LookupKind::RouterInfo => LookupType::RouterInfo,
            LookupKind::LeaseSet => LookupType::LeaseSet,
        };
        let same = self.of_key(ctx, &key).find(|id| {
            self.lookups.get(id).is_some_and(|l| l.kind == kind && l.purpose == Purpose::Caller)
        });
        if let Some(id) = same {
            return id;
        }
        let refused = match self.context(ctx) {
            None => Some(LookupFailure::Busy),
            Some(state) if state.failed_lately(now, &key) => Some(LookupFailure::Cached),
            Some(state) if state.lookups >= MAX_LOOKUPS_PER_CONTEXT => Some(LookupFailure::Busy),
            Some(_) => None,
        };
        let have = self.known_version(ctx, &key, kind, unix);
        let paths = self.paths(now, unix, ctx, &key, kind);
        let stagger = self.rtt_of(ctx).stagger();
        let limits = Limits { total: TOTAL, per_path: MAX_QUERIES_PER_PATH, stagger };
        let machine = Lookup::new(now, limits, paths);
        let purpose = Purpose::Caller;
        let active = Active { have, ..Active::new(ctx, key, kind, purpose, machine) };
        if let Some(reason) = refused {
            return self.refuse(ctx, key, reason);
        }
        match self.start(active) {
            Some(id) => {
                if let Some(state) = self.contexts.get_mut(&ctx) {
                    state.lookups += 1;
                }
                self.drive_lookup(now, unix, id);
                id
            }
            None => self.refuse(ctx, key, LookupFailure::Busy),
        }
    }

    /// Nobody waits for it any more. Neither `Found` nor `NotFound` follows.
    pub fn cancel_lookup(&mut self, lookup: LookupId) {
        if self.lookups.get(&lookup).is_some_and(|l| l.purpose == Purpose::Caller) {
            self.drop_lookup(lookup);
        }
    }

    /// A DatabaseSearchReply arrived: in the router's own context over a session of `from`, or with
    /// `None` through a tunnel.
    pub fn handle_search_reply(
        &mut self,
        now: Instant,
        unix: UnixTime,
        ctx: Context,
        from: Option<Hash>,
        reply: &DatabaseSearchReply,
    ) {
        if from.is_some_and(|from| from != reply.from) {
            log::debug!("netdb: {from:?} answers in the name of {:?}", reply.from);
            return;
        }
        let ids: Vec<LookupId> = self.of_key(ctx, &reply.key).collect();
        for id in ids {
            let Some(active) = self.lookups.get_mut(&id) else { continue };
            let Some(answered) = active.machine.handle_negative(now, &reply.from) else { continue };
            let (kind, purpose) = (active.kind, active.purpose);
            self.note_answered(now, unix, ctx, &answered);
            let named = reply.peers.iter().take(MAX_NAMED);
            match (kind, purpose) {
                (LookupType::Exploration, _) => {
                    for peer in named {
                        self.want(unix, *peer, reply.from);
                    }
                    self.drop_lookup(id);
                    self.fetch_wanted(now, unix);
                }
                (LookupType::Any | LookupType::LeaseSet | LookupType::RouterInfo, purpose) => {
                    if purpose == Purpose::Caller {
                        for peer in named {
                            self.follow(now, unix, id, &answered, *peer);
                        }
                    }
                    self.drive_lookup(now, unix, id);
                }
            }
        }
    }

    /// The query that [`NetDbAction::Query`] asked for could not be sent: no tunnel, no session.
    pub fn handle_query_unsent(
        &mut self,
        now: Instant,
        unix: UnixTime,
        lookup: LookupId,
        floodfill: &Hash,
        why: Unsent,
    ) {
        if let Some(active) = self.lookups.get_mut(&lookup) {
            active.machine.handle_unsent(now, floodfill, why);
            self.drive_lookup(now, unix, lookup);
        }
    }

    /// The query that [`NetDbAction::Query`] asked for goes over a session, or waits for one that is
    /// being dialled: [`Self::handle_unreachable`] tells when that fails.
    pub fn handle_query_direct(&mut self, lookup: LookupId, floodfill: &Hash) {
        if let Some(active) = self.lookups.get_mut(&lookup) {
            active.machine.went_direct(floodfill);
        }
    }

    /// A router could not be dialled: what was to go to it directly did not leave.
    pub fn handle_unreachable(&mut self, now: Instant, unix: UnixTime, router: Hash) {
        let direct: Vec<LookupId> = self
            .lookups
            .iter()
            .filter(|(_, l)| l.machine.waits_directly_for(&router))
            .map(|(id, _)| *id)
            .collect();
        for id in direct {
            self.handle_query_unsent(now, unix, id, &router, Unsent::Unreachable);
        }
        self.stores_unreachable(now, unix, router);
        self.handle_flood_unsent(now, unix, router);
    }

    /// Asks the nearest floodfills that are not excluded whether they have our entry. False when
    /// there is nobody to ask.
    pub(super) fn start_verification(
        &mut self,
        now: Instant,
        unix: UnixTime,
        ctx: Context,
        entry: &StoreEntry,
        exclude: &[Hash],
    ) -> bool {
        let key = entry.key();
        let kind = kind_of(entry);
        let target = RoutingKey::new(&key, unix);
        let direct = kind == LookupType::RouterInfo;
        let choice = Choice { ctx, target, floor: 0, direct, exclude, count: 2 };
        let floodfills = self.choose(now, &choice);
        if floodfills.is_empty() {
            return false;
        }
        let limits =
            Limits { total: Duration::from_secs(10), per_path: 2, stagger: Duration::ZERO };
        let machine = Lookup::new(now, limits, [Start { target, floor: 0, floodfills }]);
        let have = Some(published(entry));
        let active = Active { have, ..Active::new(ctx, key, kind, Purpose::Verify, machine) };
        match self.start(active) {
            Some(id) => {
                self.drive_lookup(now, unix, id);
                true
            }
            None => false,
        }
    }

    pub(super) fn lookup_timeout(&mut self, now: Instant, unix: UnixTime, id: LookupId) {
        let Some(active) = self.lookups.get_mut(&id) else { return };
        let ctx = active.ctx;
        for floodfill in active.machine.handle_timeout(now) {
            self.note_unanswered(now, unix, ctx, floodfill, Outcome::Unanswered);
        }
        self.drive_lookup(now, unix, id);
    }

    /// True when an entry of this kind is being looked for.
    pub(super) fn looks_for(&self, ctx: Context, key: &Hash, kind: LookupType) -> bool {
        self.of_key(ctx, key).any(|id| self.lookups.get(&id).is_some_and(|l| l.kind == kind))
    }

    /// An entry with a good signature arrived, over a session of `from` if that is known; tells the
    /// lookups that wait for it.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        unix: UnixTime,
        ctx: Context,
        from: Option<Hash>,
        entry: &StoreEntry,
    ) {
        let (key, kind, version) = (entry.key(), kind_of(entry), published(entry));
        let ids: Vec<LookupId> = self.of_key(ctx, &key).collect();
        for id in ids {
            let Some(active) = self.lookups.get_mut(&id).filter(|l| l.kind == kind) else {
                continue;
            };
            let Active { purpose, have, same, .. } = *active;
            // Who looks for a lease set again hopes for a newer one, so one floodfill that has no
            // newer one is not enough. Twice the same is.
            let good = match (purpose, have) {
                (Purpose::Verify, Some(have)) => version >= have,
                (Purpose::Caller, Some(have)) => {
                    version > have || version == have && (same || kind == LookupType::RouterInfo)
                }
                (
                    Purpose::Caller
                    | Purpose::Explore
                    | Purpose::Fetch { .. }
                    | Purpose::Wanted
                    | Purpose::Verify,
                    _,
                ) => true,
            };
            if !good && !active.is_answered_by(from) {
                continue;
            }
            active.same |= Some(version) == have;
            let only = active.machine.only_pending(now);
            if good {
                if let Some(answered) = &only {
                    self.note_answered(now, unix, ctx, answered);
                }
                self.succeed(now, unix, id, entry);
            } else {
                if let Some(answered) = only {
                    active.machine.handle_negative(now, &answered.floodfill);
                }
                self.drive_lookup(now, unix, id);
            }
        }
    }

    /// An entry arrived that is refused; the floodfill that sent it has nothing for us.
    pub(super) fn settle_refused(
        &mut self,
        now: Instant,
        unix: UnixTime,
        ctx: Context,
        from: Option<Hash>,
        entry: &StoreEntry,
        error: StoreError,
    ) {
        let ids: Vec<LookupId> = self.of_key(ctx, &entry.key()).collect();
        let kind = kind_of(entry);
        for id in ids {
            let Some(active) = self.lookups.get_mut(&id).filter(|l| l.kind == kind) else {
                continue;
            };
            // Our own RouterInfo is not stored, so that its presence shows here.
            let own = error == StoreError::Own && active.purpose == Purpose::Verify;
            if own
                && self
                    .own
                    .as_ref()
                    .is_some_and(|own| StoreEntry::RouterInfo(own.clone()) == *entry)
            {
                if let Some(answered) = active.machine.only_pending(now) {
                    self.note_answered(now, unix, ctx, &answered);
                }
                self.succeed(now, unix, id, entry);
                continue;
            }
            if !active.is_answered_by(from) {
                continue;
            }
            active.refused = Some(error);
            if let Some(answered) = active.machine.only_pending(now) {
                active.machine.handle_negative(now, &answered.floodfill);
                self.note_unanswered(now, unix, ctx, answered.floodfill, Outcome::Misserved);
            }
            self.drive_lookup(now, unix, id);
        }
    }

    /// Ends a lookup without telling anybody.
    pub(super) fn drop_lookup(&mut self, id: LookupId) -> Option<Active> {
        let active = self.lookups.remove(&id)?;
        self.by_key.remove(&(active.ctx, active.key, id));
        self.timers.set(Timer::Lookup(id), None);
        if active.purpose == Purpose::Caller
            && let Some(state) = self.contexts.get_mut(&active.ctx)
        {
            state.lookups = state.lookups.saturating_sub(1);
        }
        Some(active)
    }

    /// A floodfill answered or confirmed.
    pub(super) fn note_answered(
        &mut self,
        now: Instant,
        unix: UnixTime,
        ctx: Context,
        answered: &Answered,
    ) {
        let Answered { floodfill, latency, .. } = *answered;
        if let Some(state) = self.contexts.get_mut(&ctx) {
            state.note_served(&floodfill);
            latency.into_iter().for_each(|latency| state.rtt.sample(latency));
        }
        if ctx == Context::ROUTER {
            self.report(now, unix, floodfill, Outcome::Answered);
        }
    }

    /// A floodfill did not answer, or badly.
    pub(super) fn note_unanswered(
        &mut self,
        now: Instant,
        unix: UnixTime,
        ctx: Context,
        floodfill: Hash,
        outcome: Outcome,
    ) {
        if let Some(state) = self.contexts.get_mut(&ctx) {
            state.note_strike(now, floodfill);
        }
        if ctx == Context::ROUTER {
            self.report(now, unix, floodfill, outcome);
        }
    }

    pub(super) fn rtt_of(&self, ctx: Context) -> super::context::Rtt {
        self.contexts.get(&ctx).map(|s| s.rtt).unwrap_or_default()
    }

    fn of_key(&self, ctx: Context, key: &Hash) -> impl Iterator<Item = LookupId> {
        let (first, last) = ((ctx, *key, LookupId(0)), (ctx, *key, LookupId(u64::MAX)));
        self.by_key.range(first..=last).map(|(_, _, id)| *id)
    }

    fn known_version(
        &self,
        ctx: Context,
        key: &Hash,
        kind: LookupType,
        unix: UnixTime,
    ) -> Option<UnixTime> {
        match kind {
            LookupType::LeaseSet => self.lease_set(ctx, key, unix).map(LeaseSet::published),
            LookupType::RouterInfo => self
                .floodfill(ctx, key)
                .map(RouterInfo::published)
                // What is from the future is not what we have, but what our clock was.
                .filter(|published| *published <= unix + MAX_AHEAD),
            LookupType::Any | LookupType::Exploration => None,
        }
    }

    pub(super) fn start(&mut self, active: Active) -> Option<LookupId> {
        if self.lookups.len() >= MAX_LOOKUPS {
            return None;
        }
        let id = self.next_id();
        self.by_key.insert((active.ctx, active.key, id));
        self.lookups.insert(id, active);
        Some(id)
    }

    fn next_id(&mut self) -> LookupId {
        let id = LookupId(self.next_lookup);
        self.next_lookup += 1;
        id
    }

    fn refuse(&mut self, ctx: Context, key: Hash, reason: LookupFailure) -> LookupId {
        let lookup = self.next_id();
        self.actions.push_back(NetDbAction::NotFound { ctx, lookup, key, reason });
        lookup
    }

    /// Does what the lookup wants next and sets its timer.
    pub(super) fn drive_lookup(&mut self, now: Instant, unix: UnixTime, id: LookupId) {
        // Each turn asks one floodfill or ends the lookup, and paths are short.
        loop {
            let Some(active) = self.lookups.get_mut(&id) else { return };
            let ctx = active.ctx;
            let timeout = self.contexts.get(&ctx).map(|s| s.rtt.timeout()).unwrap_or_default();
            match active.machine.poll_step(now, timeout) {
                Some(Step::Ask(floodfill)) => self.ask(now, id, floodfill),
                Some(Step::Failed(why)) => return self.fail(now, unix, id, why),
                None => {
                    let due = active.machine.poll_timeout(now);
                    return self.timers.set(Timer::Lookup(id), due);
                }
            }
        }
    }

    fn ask(&mut self, now: Instant, id: LookupId, floodfill: Hash) {
        let Some(active) = self.lookups.get(&id) else { return };
        let Active { ctx, key, kind, .. } = *active;
        // What was asked already need not be named again. Our own hash is never in the list: it
        // would tell who asks.
        let asked = active.machine.asked().filter(|h| *h != floodfill);
        let exclude = asked.take(MAX_NAMED).collect();
        match self.floodfill(ctx, &floodfill).cloned() {
            Some(floodfill) => {
                let direct = active.is_direct();
                let lookup = id;
                self.push(NetDbAction::Query {
                    ctx,
                    lookup,
                    floodfill,
                    key,
                    kind,
                    exclude,
                    direct,
                });
            }
            // Forgotten in the meantime.
            None => {
                if let Some(active) = self.lookups.get_mut(&id) {
                    active.machine.handle_unsent(now, &floodfill, Unsent::Unreachable);
                }
            }
        }
    }

    fn succeed(&mut self, now: Instant, unix: UnixTime, id: LookupId, entry: &StoreEntry) {
        let Some(active) = self.drop_lookup(id) else { return };
        match active.purpose {
            Purpose::Caller => {
                self.outcomes.found += 1;
                if let Some(state) = self.contexts.get_mut(&active.ctx) {
                    state.note_found(&active.key);
                }
                let entry = entry.clone();
                self.actions.push_back(NetDbAction::Found { ctx: active.ctx, lookup: id, entry });
            }
            Purpose::Explore => {}
            Purpose::Fetch { parent, path } => {
                let usable = match entry {
                    StoreEntry::RouterInfo(info) => {
                        traits::Traits::of(info, self.config.reach).floodfill
                    }
                    StoreEntry::LeaseSet(_) => false,
                };
                if let Some(parent) = self.lookups.get_mut(&parent) {
                    parent.machine.fetch_ended(path);
                    if usable {
                        parent.machine.add(path, active.key);
                    }
                }
                self.drive_lookup(now, unix, parent);
            }
            Purpose::Wanted => self.timers.set(Timer::Fetch, Some(now)),
            Purpose::Verify => {
                self.verified(now, unix, (active.ctx, active.key), Verdict::There);
            }
        }
    }

    fn fail(&mut self, now: Instant, unix: UnixTime, id: LookupId, reason: LookupFailure) {
        let Some(Active { ctx, key, kind, purpose, have, refused, .. }) = self.drop_lookup(id)
        else {
            return;
        };
        match purpose {
            Purpose::Caller => {
                // Nothing newer: what was known before is still the answer.
                let known = have.and_then(|_| self.known_entry(ctx, &key, kind, unix));
                if reason == LookupFailure::NotStored
                    && let Some(state) = self.contexts.get_mut(&ctx)
                {
                    state.note_failed(now, key);
                }
                let reason = match (reason, refused) {
                    (LookupFailure::NotStored, Some(error)) => LookupFailure::Refused(error),
                    (reason, _) => reason,
                };
                let action = match known {
                    Some(entry) => {
                        self.outcomes.found += 1;
                        NetDbAction::Found { ctx, lookup: id, entry }
                    }
                    None => {
                        self.outcomes.failed += 1;
                        NetDbAction::NotFound { ctx, lookup: id, key, reason }
                    }
                };
                self.actions.push_back(action);
            }
            Purpose::Explore => {}
            Purpose::Fetch { parent, path } => {
                if let Some(parent) = self.lookups.get_mut(&parent) {
                    parent.machine.fetch_ended(path);
                }
                self.drive_lookup(now, unix, parent);
            }
            Purpose::Wanted => self.timers.set(Timer::Fetch, Some(now)),
            Purpose::Verify => {
                let verdict = match reason {
                    LookupFailure::NotStored => Verdict::Missing,
                    LookupFailure::NoFloodfill
                    | LookupFailure::TimedOut
                    | LookupFailure::Cached
                    | LookupFailure::Busy
                    | LookupFailure::NoTunnel
                    | LookupFailure::Refused(_) => Verdict::Silent,
                };
                self.verified(now, unix, (ctx, key), verdict);
            }
        }
    }

    fn known_entry(
        &self,
        ctx: Context,
        key: &Hash,
        kind: LookupType,
        unix: UnixTime,
    ) -> Option<StoreEntry> {
        match kind {
            LookupType::LeaseSet => {
                self.lease_set(ctx, key, unix).cloned().map(StoreEntry::LeaseSet)
            }
            LookupType::RouterInfo => self.floodfill(ctx, key).cloned().map(StoreEntry::RouterInfo),
            LookupType::Any | LookupType::Exploration => None,
        }
    }

    /// A reply to lookup `id` named `peer`.
    fn follow(
        &mut self,
        now: Instant,
        unix: UnixTime,
        id: LookupId,
        answered: &Answered,
        peer: Hash,
    ) {
        let Some(active) = self.lookups.get(&id) else { return };
        let ctx = active.ctx;
        if peer == self.config.local
            || peer == Hash::ZERO
            || !active.machine.would_follow(answered.path, &answered.floodfill, &peer)
        {
            return;
        }
        if let Some(info) = self.floodfill(ctx, &peer) {
            let usable = traits::Traits::of(info, self.config.reach).floodfill;
            if usable && let Some(active) = self.lookups.get_mut(&id) {
                active.machine.add(answered.path, peer);
            }
        } else if active.fetches < MAX_FETCHES {
            let purpose = Purpose::Fetch { parent: id, path: answered.path };
            // Counted before the fetch starts, since it may end at once.
            if let Some(active) = self.lookups.get_mut(&id) {
                active.fetches += 1;
                active.machine.fetch_started(answered.path);
            }
            if !self.start_fetch(now, unix, ctx, peer, answered.floodfill, purpose)
                && let Some(active) = self.lookups.get_mut(&id)
            {
                active.machine.fetch_ended(answered.path);
            }
        }
    }

    /// Asks the router that named `router` for its RouterInfo. False when it cannot be asked or
    /// the RouterInfo is on its way already.
    pub(super) fn start_fetch(
        &mut self,
        now: Instant,
        unix: UnixTime,
        ctx: Context,
        router: Hash,
        named_by: Hash,
        purpose: Purpose,
    ) -> bool {
        if self.looks_for(ctx, &router, LookupType::RouterInfo) {
            return false;
        }
        let target = RoutingKey::new(&router, unix);
        let limits = Limits { total: Duration::from_secs(5), per_path: 1, stagger: Duration::ZERO };
        let start = Start { target, floor: 0, floodfills: alloc::vec![named_by] };
        let machine = Lookup::new(now, limits, [start]);
        let active = Active::new(ctx, router, LookupType::RouterInfo, purpose, machine);
        match self.start(active) {
            Some(id) => {
                self.drive_lookup(now, unix, id);
                true
            }
            None => false,
        }
    }
}

/// The kind of lookup that finds an entry.
const fn kind_of(entry: &StoreEntry) -> LookupType {
    match entry {
        StoreEntry::RouterInfo(_) => LookupType::RouterInfo,
        StoreEntry::LeaseSet(_) => LookupType::LeaseSet,
    }
}

/// When an entry was made.
pub(super) fn published(entry: &StoreEntry) -> UnixTime {
    match entry {
        StoreEntry::RouterInfo(info) => info.published(),
        StoreEntry::LeaseSet(set) => set.published(),
    }
}
