//! The network database: who is out there, and where destinations are reached; as a client, and as
//! a floodfill that keeps a part of it for others.
//!
//! [`NetDb`] decides whom to ask and whom to store to, what is believed and kept, and when our own
//! entries are to be published again. It neither makes messages nor picks tunnels: the router
//! turns [`NetDbAction::Query`] and [`NetDbAction::Store`] into messages on the way that the
//! context asks for, and hands back what arrives.

mod answer;
mod choose;
mod context;
mod explore;
mod floodfill;
mod keep;
mod lookup;
pub mod profile;
mod publish;
pub mod reseed;
pub mod routing_key;
mod sampled;
mod search;
mod store;
mod timers;
mod traits;

pub use answer::{Answer, MAX_THROTTLED_SOURCES};
pub use context::MAX_LEASE_SETS;
pub use floodfill::{Fitness, FloodfillStats, MAX_KEPT, Origin};
pub use keep::{MAX_PUBLICATIONS, PublishError};
pub use lookup::{LookupFailure, Unsent};
pub use search::MAX_LOOKUPS;
pub use store::{
    MAX_AHEAD, MAX_UNVERIFIED, MAX_VERIFIED, OLDEST_ACCEPTED, SMALL_NETWORK, StoreError, Stored,
};
pub use traits::{Candidate, MIN_FLOODFILL_VERSION, MIN_HOP_VERSION};

use crate::audit::Audit;
use crate::crypto::sign::BadSignature;
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use crate::wire::i2np::{DatabaseStore, LookupType, ReplyEncryption, StoreEntry};
use crate::wire::lease_set::LeaseSet;
use crate::wire::router_info::{Reach, RouterInfo};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use context::ContextState;
use core::time::Duration;
use explore::Explorer;
use profile::{Outcome, Profile, Profiles};
use publish::Publication;
use search::Active;
use store::{Bucket, Routers, Source};
use timers::Timers;

/// Contexts at once: the router and its destinations.
pub const MAX_CONTEXTS: usize = 129;
/// Actions that wait to be drained. Beyond, queries, stores, answers and writes are dropped, as
/// the network would drop them; outcomes of lookups are not.
pub const MAX_ACTIONS: usize = 1024;
/// New routers that nobody asked for: so many a second, and so many at once.
const NEWCOMERS: (u64, u64) = (10, 100);
/// Between two rounds of housekeeping.
const TICK: Duration = Duration::from_secs(30);
/// RouterInfos, and as many profiles, written to the embedder's store in one round.
const WRITES_PER_TICK: usize = 16;
/// Timers that one call runs; the others are still due afterwards.
const TIMERS_PER_CALL: usize = 64;

/// Whose view of the network: 0 is the router itself, the others are its destinations.
///
/// Contexts share no lease sets, no lookups, no failures, and no routers that only one of them
/// heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Context(pub u32);

impl Context {
    /// The router itself.
    pub const ROUTER: Self = Self(0);
}

/// A lookup under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupId(u64);

/// What a caller looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LookupKind {
    /// How to reach a router.
    RouterInfo,
    /// How to reach a destination.
    LeaseSet,
}

/// What does not change while the router runs.
#[derive(Clone, Copy, Debug)]
pub struct NetDbConfig {
    /// Our router's hash.
    pub local: Hash,
    /// The network that we belong to.
    pub net_id: u8,
    /// Whom we can connect to. Where addresses of private networks will do, old files do to start from.
    pub reach: Reach,
}

/// What the router has to do.
pub enum NetDbAction {
    /// Ask a floodfill.
    Query {
        /// Whose tunnels and keys.
        ctx: Context,
        /// For [`NetDb::handle_query_unsent`] and [`NetDb::handle_query_direct`].
        lookup: LookupId,
        /// Whom.
        floodfill: RouterInfo,
        /// What for.
        key: Hash,
        /// Of what kind; never [`LookupType::Any`].
        kind: LookupType,
        /// Not to be named in a reply.
        exclude: Vec<Hash>,
        /// Over a session of ours, with our own hash as the sender. All others go through tunnels
        /// of the context, with an encrypted reply; those of the router's own context may go
        /// directly while there are no tunnels.
        direct: bool,
    },
    /// Give an entry to a floodfill and have it confirmed: our RouterInfo over a session, with
    /// ourselves as the gateway of the reply; a lease set through tunnels of its context.
    Store {
        /// Whose tunnels and keys.
        ctx: Context,
        /// Whom to.
        floodfill: RouterInfo,
        /// What.
        entry: StoreEntry,
        /// The reply token; for [`NetDb::handle_delivery_status`] and
        /// [`NetDb::handle_store_unsent`].
        token: u32,
    },
    /// A lookup succeeded. It is over.
    Found {
        /// Whose.
        ctx: Context,
        /// Which.
        lookup: LookupId,
        /// What.
        entry: StoreEntry,
    },
    /// A lookup found nothing. It is over.
    NotFound {
        /// Whose.
        ctx: Context,
        /// Which.
        lookup: LookupId,
        /// What was looked for.
        key: Hash,
        /// Why.
        reason: LookupFailure,
    },
    /// Answer a lookup of another router.
    Reply {
        /// The router, or the gateway of `tunnel`.
        to: Hash,
        /// The tunnel at `to`.
        tunnel: Option<u32>,
        /// How to encrypt it; always [`ReplyEncryption::None`] without a tunnel.
        encryption: ReplyEncryption,
        /// What to say.
        answer: Answer,
    },
    /// Confirm a store: a DeliveryStatus with `token` as its id.
    Confirm {
        /// The router, or the gateway of `tunnel`.
        to: Hash,
        /// The tunnel at `to`.
        tunnel: Option<u32>,
        /// Whose meaning the publisher knows.
        token: u32,
    },
    /// Pass an entry on to another floodfill, over a session and without a token.
    Flood {
        /// Whom to.
        to: Hash,
        /// What.
        entry: StoreEntry,
    },
    /// Say how fit we are to be a floodfill: [`NetDb::handle_fitness`].
    Assess,
    /// Our RouterInfo is due: sign one with a new date and hand it to [`NetDb::publish_router`].
    Renew,
    /// Write this RouterInfo to the embedder's store.
    Persist(RouterInfo),
    /// Delete that router's RouterInfo from the embedder's store.
    Forget(Hash),
    /// Write this profile to the embedder's store.
    PersistProfile {
        /// Whose.
        router: Hash,
        /// As [`NetDb::restore_profile`] reads it.
        bytes: Vec<u8>,
    },
    /// Delete that router's profile from the embedder's store.
    ForgetProfile(Hash),
}

/// How lookups of callers ended since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcomes {
    /// With the entry.
    pub found: u64,
    /// Without.
    pub failed: u64,
}

/// How much is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// RouterInfos of routers that we saw at work.
    pub verified: usize,
    /// RouterInfos of others.
    pub unverified: usize,
    /// Floodfills among both.
    pub floodfills: usize,
    /// Lease sets, of all contexts.
    pub lease_sets: usize,
    /// Lookups under way, our own inner ones included.
    pub lookups: usize,
    /// Profiles.
    pub profiles: usize,
}

/// An entry that passed the cheap checks, on its way to the expensive one.
#[derive(Debug)]
#[must_use]
pub struct Unverified {
    ctx: Context,
    from: Option<Hash>,
    entry: StoreEntry,
}

/// An entry whose signature was checked.
#[derive(Debug)]
#[must_use]
pub struct Checked {
    claim: Unverified,
    result: Result<(), BadSignature>,
}

impl Unverified {
    /// Checks the signature: some 100 µs, pure, on any thread.
    pub fn verify(self) -> Checked {
        let result = match &self.entry {
            StoreEntry::RouterInfo(info) => info.verify(),
            StoreEntry::LeaseSet(set) => set.verify(),
        };
        Checked { claim: self, result }
    }
}

/// The timers of the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Lookup(LookupId),
    Publication(Context, Hash),
    Explore,
    Fetch,
    Renew,
    Tick,
}

/// The network database of one router.
///
/// After each `handle_*` or verb drain [`Self::poll_action`] until it says `None`, then arm a timer
/// for [`Self::poll_timeout`].
pub struct NetDb {
    config: NetDbConfig,
    rng: Rng,
    routers: Routers,
    profiles: Profiles,
    contexts: BTreeMap<Context, ContextState>,
    lookups: BTreeMap<LookupId, Active>,
    /// The same lookups by what they look for.
    by_key: BTreeSet<(Context, Hash, LookupId)>,
    next_lookup: u64,
    publications: BTreeMap<(Context, Hash), Publication>,
    /// Confirmations that are waited for.
    tokens: BTreeMap<u32, (Context, Hash)>,
    /// Our RouterInfo as last published.
    own: Option<RouterInfo>,
    explorer: Explorer,
    /// Routers heard of, and who named them; their RouterInfos are fetched a few at a time.
    wanted: BTreeMap<Hash, Hash>,
    newcomers: Bucket,
    throttle: answer::Throttle,
    confirmations: Bucket,
    role: floodfill::Role,
    outcomes: Outcomes,
    timers: Timers<Timer>,
    actions: VecDeque<NetDbAction>,
}

impl NetDb {
    /// What is held after a drain, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        self.routers.audit(audit);
        self.profiles.audit(audit);
        self.throttle.audit(audit);
        self.role.audit(audit);
        let (lookups, publications) = (self.lookups.len(), self.publications.len());
        audit.see("netdb: contexts", self.contexts.len(), MAX_CONTEXTS);
        audit.see("netdb: lookups", lookups, search::MAX_LOOKUPS);
        audit.see("netdb: lookups by key", self.by_key.len(), lookups);
        audit.see("netdb: publications", publications, keep::MAX_PUBLICATIONS);
        let tokens = publications * publish::MAX_TOKENS;
        audit.see("netdb: confirmations waited for", self.tokens.len(), tokens);
        audit.see("netdb: routers heard of", self.wanted.len(), explore::MAX_WANTED);
        // Exploring, fetching, renewing and the tick have one each.
        audit.see("netdb: timers", self.timers.len(), lookups + publications + 4);
        audit.drained("netdb: actions", self.actions.len());
        for state in self.contexts.values() {
            state.audit(audit);
        }
        for lookup in self.lookups.values() {
            lookup.machine.audit(audit);
        }
    }

    /// An empty one. Fill it with [`Self::restore`], [`Self::restore_profile`] and
    /// [`Self::reseed`].
    #[must_use]
    pub fn new(now: Instant, config: NetDbConfig, rng: Rng) -> Self {
        let mut timers = Timers::new();
        timers.set(Timer::Tick, Some(now + TICK));
        // The first round waits for the first sessions and tunnels.
        timers.set(Timer::Explore, Some(now + Duration::from_secs(5)));
        Self {
            config,
            rng,
            routers: Routers::new(config.local, config.net_id, config.reach, now),
            profiles: Profiles::new(),
            contexts: BTreeMap::from([(Context::ROUTER, ContextState::new())]),
            lookups: BTreeMap::new(),
            by_key: BTreeSet::new(),
            next_lookup: 1,
            publications: BTreeMap::new(),
            tokens: BTreeMap::new(),
            own: None,
            explorer: Explorer::new(),
            wanted: BTreeMap::new(),
            newcomers: Bucket::new(now, NEWCOMERS.0, NEWCOMERS.1),
            throttle: answer::Throttle::of_lookups(now, false),
            confirmations: Bucket::new(now, floodfill::CONFIRMATIONS.0, floodfill::CONFIRMATIONS.1),
            role: floodfill::Role::new(now),
            outcomes: Outcomes::default(),
            timers,
            actions: VecDeque::new(),
        }
    }

    /// The RouterInfo of a router that the router itself knows.
    #[must_use]
    pub fn router(&self, hash: &Hash) -> Option<&RouterInfo> {
        self.routers.get(hash).map(|r| &r.info)
    }

    /// The lease set of a destination, as `ctx` knows it and unless it is over.
    #[must_use]
    pub fn lease_set(&self, ctx: Context, key: &Hash, unix: UnixTime) -> Option<&LeaseSet> {
        self.contexts.get(&ctx)?.lease_set(key, unix)
    }

    /// As [`Self::lease_set`], and keeps it longer when room gets scarce, since it is in use.
    pub fn use_lease_set(
        &mut self,
        now: Instant,
        unix: UnixTime,
        ctx: Context,
        key: &Hash,
    ) -> Option<LeaseSet> {
        self.contexts.get_mut(&ctx)?.use_lease_set(now, key, unix)
    }

    /// All routers that may be hops of tunnels now: in the order of their hashes, those that we
    /// saw at work first. Costs time in proportion to what is known.
    pub fn candidates(&self, now: Instant, unix: UnixTime) -> impl Iterator<Item = Candidate<'_>> {
        self.routers.iter().filter_map(move |(r, verified)| self.candidate(now, unix, r, verified))
    }

    /// Up to `n` different routers that may be hops: those of `first` before others, which are drawn
    /// uniformly; all when no more are known, in the order of [`Self::candidates`]. Costs time in proportion to
    /// `n`, however many are known; a few less than there are may be found when `n` is near that.
    pub fn draw_candidates(
        &mut self,
        now: Instant,
        unix: UnixTime,
        n: usize,
        first: &[Hash],
    ) -> Vec<Candidate<'_>> {
        if self.routers.len() <= n {
            // To draw until every one was met takes many times as many draws.
            return self.candidates(now, unix).collect();
        }
        let mut rng = self.rng.fork("candidates");
        let mut seen = BTreeSet::new();
        let mut drawn = Vec::new();
        for hash in first.iter().take(n) {
            if let Some((record, verified)) = self.routers.find(hash)
                && seen.insert(*hash)
                && let Some(candidate) = self.candidate(now, unix, record, verified)
            {
                drawn.push(candidate);
            }
        }
        for _ in 0..n.saturating_mul(4) {
            if drawn.len() >= n {
                break;
            }
            if let Some((record, verified)) = self.routers.draw(&mut rng)
                && seen.insert(record.info.hash())
                && let Some(candidate) = self.candidate(now, unix, record, verified)
            {
                drawn.push(candidate);
            }
        }
        drawn
    }

    /// What we measured about a router.
    #[must_use]
    pub fn profile(&self, router: &Hash) -> Option<&Profile> {
        self.profiles.get(router)
    }

    /// How much is held.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let (verified, unverified, floodfills) = self.routers.counts();
        Counts {
            verified,
            unverified,
            floodfills,
            lease_sets: self.contexts.values().map(ContextState::lease_sets).sum(),
            lookups: self.lookups.len(),
            profiles: self.profiles.len(),
        }
    }

    /// How lookups of callers ended since the start.
    #[must_use]
    pub const fn outcomes(&self) -> Outcomes {
        self.outcomes
    }

    /// A RouterInfo from the embedder's store. Checks its signature.
    pub fn restore(
        &mut self,
        now: Instant,
        unix: UnixTime,
        info: RouterInfo,
    ) -> Result<Stored, StoreError> {
        self.insert_checked(now, unix, info, Source::Saved)
    }

    /// A profile from the embedder's store. Damaged ones are refused and cost nothing but what was
    /// measured.
    pub fn restore_profile(
        &mut self,
        now: Instant,
        unix: UnixTime,
        router: Hash,
        bytes: &[u8],
    ) -> Result<(), crate::wire::codec::DecodeError> {
        self.profiles.restore(router, Profile::decode(bytes, now, unix)?);
        Ok(())
    }

    /// Makes room for a destination, before anything is stored in its context.
    pub fn add_context(&mut self, ctx: Context) -> Result<(), StoreError> {
        self.context(ctx).map(|_| ()).ok_or(StoreError::Full)
    }

    /// A router did, or failed to do, something for us. Sessions that others open prove nothing
    /// about how well they can be reached: report [`Outcome::Connected`] for our own.
    pub fn report(&mut self, now: Instant, unix: UnixTime, router: Hash, outcome: Outcome) {
        if router == self.config.local {
            return;
        }
        match outcome {
            Outcome::Connected | Outcome::BuildAccepted { .. } | Outcome::Answered => {
                self.routers.promote(now, &router, &self.profiles, &mut self.rng);
            }
            Outcome::ConnectFailed
            | Outcome::BuildRejected
            | Outcome::BuildTimedOut { .. }
            | Outcome::TestPassed { .. }
            | Outcome::TestFailed { .. }
            | Outcome::Unanswered
            | Outcome::Misserved => {}
        }
        let gone = self.profiles.record(now, unix, router, outcome, &mut self.rng);
        if let Some(gone) = gone {
            self.push(NetDbAction::ForgetProfile(gone));
        }
    }

    /// A destination is gone, and everything with it.
    pub fn remove_context(&mut self, ctx: Context) {
        if ctx == Context::ROUTER {
            return;
        }
        self.contexts.remove(&ctx);
        let ids: Vec<_> =
            self.lookups.iter().filter(|(_, l)| l.ctx == ctx).map(|(id, _)| *id).collect();
        for id in ids {
            self.drop_lookup(id);
        }
        let keys: Vec<_> = self.publications.keys().filter(|(c, _)| *c == ctx).copied().collect();
        for key in keys {
            self.drop_publication(key);
        }
    }

    /// A DatabaseStore arrived: over a session of `from`, or, with `None`, in the encrypted answer to
    /// a question of the context's. Checks the signature here; see [`Self::admit`] for doing that
    /// elsewhere.
    pub fn handle_store(
        &mut self,
        now: Instant,
        unix: UnixTime,
        ctx: Context,
        from: Option<Hash>,
        store: DatabaseStore,
    ) -> Result<Stored, StoreError> {
        match self.admit(now, unix, ctx, from, store)? {
            Some(claim) => self.handle_checked(now, unix, claim.verify()),
            None => Ok(Stored::Known),
        }
    }

    /// The first half of [`Self::handle_store`]: all checks but the signature. `None` when the
    /// entry is known in this version. Otherwise call [`Unverified::verify`], anywhere, and hand
    /// its result to [`Self::handle_checked`].
    pub fn admit(
        &mut self,
        now: Instant,
        unix: UnixTime,
        ctx: Context,
        from: Option<Hash>,
        store: DatabaseStore,
    ) -> Result<Option<Unverified>, StoreError> {
        let admitted = match &store.entry {
            StoreEntry::RouterInfo(info) => self.admit_router(now, unix, ctx, from, info),
            StoreEntry::LeaseSet(set) => self.admit_lease_set(unix, ctx, set),
        };
        match admitted {
            Ok(Stored::New | Stored::Newer) => {
                Ok(Some(Unverified { ctx, from, entry: store.entry }))
            }
            Ok(Stored::Known) => {
                // Byte for byte what was verified when it came first.
                self.settle(now, unix, ctx, from, &store.entry);
                Ok(None)
            }
            Err(error) => {
                self.settle_refused(now, unix, ctx, from, &store.entry, error);
                Err(error)
            }
        }
    }

    /// The second half of [`Self::handle_store`].
    pub fn handle_checked(
        &mut self,
        now: Instant,
        unix: UnixTime,
        checked: Checked,
    ) -> Result<Stored, StoreError> {
        let Checked { claim: Unverified { ctx, from, entry }, result } = checked;
        if result.is_err() {
            self.settle_refused(now, unix, ctx, from, &entry, StoreError::BadSignature);
            return Err(StoreError::BadSignature);
        }
        match self.keep_checked(now, unix, ctx, from, &entry) {
            Ok(stored) => {
                self.settle(now, unix, ctx, from, &entry);
                Ok(stored)
            }
            // It is an answer all the same.
            Err(error) => {
                self.settle_refused(now, unix, ctx, from, &entry, error);
                Err(error)
            }
        }
    }

    /// Compares what is known to be genuine once more, and keeps it.
    fn keep_checked(
        &mut self,
        now: Instant,
        unix: UnixTime,
        ctx: Context,
        from: Option<Hash>,
        entry: &StoreEntry,
    ) -> Result<Stored, StoreError> {
        // Others may have been faster while the signature was being checked.
        Ok(match entry {
            StoreEntry::RouterInfo(info) if ctx == Context::ROUTER => {
                let itself = from == Some(info.hash());
                let source = if itself { Source::Itself } else { Source::Others };
                let stored = self.routers.check(now, unix, info, source)?;
                if stored != Stored::Known {
                    let info = info.clone();
                    self.routers.insert(now, info, source, &self.profiles, &mut self.rng);
                }
                stored
            }
            StoreEntry::RouterInfo(info) => {
                let traits = traits::Traits::of(info, self.config.reach);
                let state = self.contexts.get_mut(&ctx).ok_or(StoreError::Unwanted)?;
                let stored = compare_router(state.router(&info.hash()), info, unix)?;
                if stored != Stored::Known {
                    state.insert_router(now, info.clone(), &traits);
                }
                stored
            }
            StoreEntry::LeaseSet(set) => {
                let key = set.key();
                let asked = self.looks_for(ctx, &key, LookupType::LeaseSet);
                let own = self.publications.contains_key(&(ctx, key));
                let state = self.contexts.get_mut(&ctx).ok_or(StoreError::Unwanted)?;
                let stored = compare(state.lease_set(&key, unix), set, LeaseSet::published)?;
                // Our own comes back when it is verified, perhaps in an old version.
                if stored != Stored::Known && !own {
                    state.insert_lease_set(now, unix, set.clone(), asked);
                    state.note_found(&key);
                }
                stored
            }
        })
    }

    /// A peer sent its own RouterInfo over its session, in the handshake or later. The caller has
    /// seen to it that it is the peer's own.
    pub fn handle_peer_info(
        &mut self,
        now: Instant,
        unix: UnixTime,
        info: RouterInfo,
    ) -> Result<Stored, StoreError> {
        let stored = self.insert_checked(now, unix, info.clone(), Source::Itself)?;
        let from = Some(info.hash());
        self.settle(now, unix, Context::ROUTER, from, &StoreEntry::RouterInfo(info));
        Ok(stored)
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant, unix: UnixTime) {
        for _ in 0..TIMERS_PER_CALL {
            let Some(timer) = self.timers.pop(now) else { break };
            match timer {
                Timer::Lookup(id) => self.lookup_timeout(now, unix, id),
                Timer::Publication(ctx, key) => self.publication_timeout(now, unix, (ctx, key)),
                Timer::Explore => self.explore(now, unix),
                Timer::Fetch => self.fetch_wanted(now, unix),
                Timer::Renew => self.renew_due(now),
                Timer::Tick => self.tick(now, unix),
            }
        }
    }

    /// Hands out everything that is not in the embedder's store yet, before the router stops.
    pub fn save(&mut self, now: Instant, unix: UnixTime) {
        while self.write_one(now, unix) {}
    }

    /// What to do next.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<NetDbAction> {
        self.actions.pop_front()
    }

    /// When to call [`Self::handle_timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    fn candidate<'a>(
        &self,
        now: Instant,
        unix: UnixTime,
        record: &'a store::Record,
        verified: bool,
    ) -> Option<Candidate<'a>> {
        let profile = self.profiles.get(&record.info.hash());
        if profile.is_some_and(|p| p.gone(now)) {
            return None;
        }
        let standing = match profile {
            Some(profile) => profile.standing(now),
            None => Profile::new(now).standing(now),
        };
        record.traits.candidate(&record.info, unix, verified, standing)
    }

    /// The state of `ctx`, made when it is new and there is room.
    fn context(&mut self, ctx: Context) -> Option<&mut ContextState> {
        if !self.contexts.contains_key(&ctx) && self.contexts.len() >= MAX_CONTEXTS {
            return None;
        }
        Some(self.contexts.entry(ctx).or_insert_with(ContextState::new))
    }

    fn admit_router(
        &mut self,
        now: Instant,
        unix: UnixTime,
        ctx: Context,
        from: Option<Hash>,
        info: &RouterInfo,
    ) -> Result<Stored, StoreError> {
        let hash = info.hash();
        let asked = self.looks_for(ctx, &hash, LookupType::RouterInfo);
        if ctx != Context::ROUTER {
            // What one destination hears of routers stays with it, and it hears only answers.
            if !asked {
                return Err(StoreError::Unwanted);
            }
            self.routers.check_fresh(now, unix, info, Source::Others)?;
            let known = self.contexts.get(&ctx).and_then(|c| c.router(&hash));
            return compare_router(known, info, unix);
        }
        let itself = from == Some(hash);
        let source = if itself { Source::Itself } else { Source::Others };
        let stored = self.routers.check(now, unix, info, source)?;
        if !asked && !itself && stored != Stored::Known && !self.newcomers.take(now) {
            return Err(StoreError::Throttled);
        }
        Ok(stored)
    }

    fn admit_lease_set(
        &mut self,
        unix: UnixTime,
        ctx: Context,
        set: &LeaseSet,
    ) -> Result<Stored, StoreError> {
        let key = set.key();
        // Destinations are sent lease sets along with data; the router itself only gets answers.
        if ctx == Context::ROUTER && !self.looks_for(ctx, &key, LookupType::LeaseSet) {
            return Err(StoreError::Unwanted);
        }
        context::check_lease_set(set, unix)?;
        let state = self.contexts.get(&ctx).ok_or(StoreError::Unwanted)?;
        compare(state.lease_set(&key, unix), set, LeaseSet::published)
    }

    fn insert_checked(
        &mut self,
        now: Instant,
        unix: UnixTime,
        info: RouterInfo,
        source: Source,
    ) -> Result<Stored, StoreError> {
        let stored = self.routers.check(now, unix, &info, source)?;
        if stored == Stored::Known {
            if source == Source::Itself {
                self.routers.promote(now, &info.hash(), &self.profiles, &mut self.rng);
            }
            return Ok(stored);
        }
        info.verify().map_err(|_| StoreError::BadSignature)?;
        self.routers.insert(now, info, source, &self.profiles, &mut self.rng);
        Ok(stored)
    }

    /// The RouterInfo of a floodfill as `ctx` knows it.
    fn floodfill(&self, ctx: Context, hash: &Hash) -> Option<&RouterInfo> {
        let private = || self.contexts.get(&ctx).and_then(|c| c.router(hash));
        self.router(hash).or_else(private)
    }

    fn tick(&mut self, now: Instant, unix: UnixTime) {
        self.timers.set(Timer::Tick, Some(now + TICK));
        self.routers.sweep(now, unix);
        for router in self.profiles.sweep(now, unix) {
            self.push(NetDbAction::ForgetProfile(router));
        }
        for state in self.contexts.values_mut() {
            state.sweep(unix);
        }
        self.role.sweep(now, unix);
        if self.role.wants_assessment() {
            self.push(NetDbAction::Assess);
        }
        self.publications_tick(now, unix);
        self.fetch_wanted(now, unix);
        for _ in 0..WRITES_PER_TICK {
            if !self.write_one(now, unix) {
                break;
            }
        }
    }

    /// Writes a RouterInfo and a profile, and deletes one; false when there was nothing to do.
    fn write_one(&mut self, now: Instant, unix: UnixTime) -> bool {
        let forget = self.routers.next_forgotten().map(NetDbAction::Forget);
        let persist = self.routers.next_unsaved().map(NetDbAction::Persist);
        let profile = self.profiles.next_changed(now, unix);
        let profile = profile.map(|(router, bytes)| NetDbAction::PersistProfile { router, bytes });
        let before = self.actions.len();
        // Not through `push`: what is not written now would not be offered again.
        self.actions.extend([forget, persist, profile].into_iter().flatten());
        self.actions.len() > before
    }

    /// Queues an action that may get lost.
    fn push(&mut self, action: NetDbAction) {
        if self.actions.len() < MAX_ACTIONS {
            self.actions.push_back(action);
        } else {
            log::warn!("netdb: {MAX_ACTIONS} actions are waiting, dropping one");
        }
    }
}

/// How a RouterInfo compares with the one that is known. One from the future, as it may be after our
/// clock was put back, must not keep out the true one.
fn compare_router(
    known: Option<&RouterInfo>,
    new: &RouterInfo,
    unix: UnixTime,
) -> Result<Stored, StoreError> {
    match known {
        Some(known) if known.published() > unix + store::MAX_AHEAD => Ok(Stored::Newer),
        known => compare(known, new, RouterInfo::published),
    }
}

/// How an entry compares with the one that is known. Another one made at the same time is no
/// newer one, and only the very same is the known one.
fn compare<T: PartialEq>(
    known: Option<&T>,
    new: &T,
    published: impl Fn(&T) -> UnixTime,
) -> Result<Stored, StoreError> {
    match known {
        None => Ok(Stored::New),
        Some(known) if published(known) < published(new) => Ok(Stored::Newer),
        Some(known) if known == new => Ok(Stored::Known),
        Some(_) => Err(StoreError::Older),
    }
}

const fn assert_send<T: Send + 'static>() {}
const _: () = {
    assert_send::<NetDb>();
    assert_send::<Unverified>();
    assert_send::<Checked>();
};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
