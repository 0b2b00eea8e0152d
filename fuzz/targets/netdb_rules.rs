//! What holds in a network database, whatever others say.

use super::netdb_entries::{BASE, ENTRIES};
use ramson_core::netdb::{
    Answer, Context, LookupId, LookupKind, MAX_AHEAD, MAX_CONTEXTS, MAX_KEPT, MAX_LEASE_SETS,
    MAX_LOOKUPS, MAX_UNVERIFIED, MAX_VERIFIED, NetDb, NetDbAction, SMALL_NETWORK, StoreError,
    Stored, Unverified,
};
use ramson_core::time::{Instant, UnixTime};
use ramson_core::wire::hash::Hash;
use ramson_core::wire::i2np::{DatabaseSearchReply, DatabaseStore, LookupType, StoreEntry};
use ramson_core::wire::lease_set::LeaseSet;
use ramson_core::wire::router_info::RouterInfo;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The longest that a lookup takes.
pub(super) const LONGEST_LOOKUP: Duration = Duration::from_secs(18);
/// Lookups that callers of one context may have.
const MAX_LOOKUPS_PER_CONTEXT: usize = 64;
/// A lease set is made at most so far ahead of our clock.
const MAX_SET_AHEAD: Duration = Duration::from_secs(16 * 60);
/// Queries, stores and claims that are remembered.
pub(super) const REMEMBERED: usize = 32;

/// A caller's lookup that has not ended.
pub(super) struct Pending {
    pub(super) ctx: Context,
    pub(super) key: Hash,
    pub(super) kind: LookupKind,
    pub(super) started: Instant,
}

/// What the router was asked to ask.
#[derive(Clone)]
pub(super) struct Query {
    pub(super) ctx: Context,
    pub(super) lookup: LookupId,
    pub(super) floodfill: Hash,
    pub(super) key: Hash,
}

/// A stranger's question that is being handled.
pub(super) struct Asked {
    pub(super) from: Option<Hash>,
    pub(super) to: Hash,
    pub(super) key: Hash,
    pub(super) kind: LookupType,
    pub(super) exclude: Vec<Hash>,
}

pub(super) struct World {
    pub(super) db: NetDb,
    pub(super) now: Instant,
    /// Seconds by which the wall clock was set.
    pub(super) set: i64,
    /// The router's context and three of destinations; the numbers are never used again.
    pub(super) contexts: [Context; 4],
    pub(super) next_context: u32,
    pub(super) lookups: BTreeMap<LookupId, Pending>,
    pub(super) queries: Vec<Query>,
    pub(super) tokens: Vec<(Context, u32)>,
    pub(super) claims: Vec<(Context, StoreEntry, Unverified)>,
    /// Entries by the context that they were shown to, by their bytes.
    pub(super) shown: BTreeMap<Context, BTreeSet<Vec<u8>>>,
    /// Lease sets that were published to us, and entries that we publish.
    pub(super) published: BTreeSet<Vec<u8>>,
    pub(super) ours: BTreeSet<(Context, Vec<u8>)>,
    /// What was there at the latest look, and the versions that only one context knows.
    pub(super) routers: BTreeMap<Hash, RouterInfo>,
    pub(super) sets: BTreeMap<(Context, Hash), LeaseSet>,
    pub(super) private: BTreeMap<(Context, Hash), UnixTime>,
    pub(super) asked: Option<Asked>,
    /// The token of a store that is to be confirmed.
    pub(super) confirm: Option<u32>,
    pub(super) crowded: bool,
}

pub(super) fn bytes(entry: &StoreEntry) -> &[u8] {
    match entry {
        StoreEntry::RouterInfo(info) => info.as_bytes(),
        StoreEntry::LeaseSet(set) => set.as_bytes(),
    }
}

pub(super) fn is_genuine(entry: &StoreEntry) -> bool {
    ENTRIES.is_genuine(bytes(entry))
}

pub(super) fn is_current(set: &LeaseSet, unix: UnixTime) -> bool {
    set.expires() > unix && set.published() <= unix + MAX_SET_AHEAD
}

impl World {
    pub(super) fn unix(&self) -> UnixTime {
        let by = Duration::from_secs(self.set.unsigned_abs());
        let unix = BASE + self.now.saturating_since(Instant::ZERO);
        if self.set < 0 { unix - by } else { unix + by }
    }

    pub(super) fn show(&mut self, ctx: Context, entry: &StoreEntry) {
        self.shown.entry(ctx).or_default().insert(bytes(entry).to_vec());
    }

    pub(super) fn was_shown(&self, ctx: Context, bytes: &[u8]) -> bool {
        self.shown.get(&ctx).is_some_and(|shown| shown.contains(bytes))
    }

    /// What an entry's fate may be, and what is there afterwards.
    pub(super) fn judge(
        &mut self,
        ctx: Context,
        entry: &StoreEntry,
        result: Result<Stored, StoreError>,
    ) {
        let unix = self.unix();
        if !is_genuine(entry) {
            assert!(result.is_err(), "forged, or of another network");
        }
        assert!(result != Err(StoreError::BadSignature) || !is_genuine(entry));
        if result.is_err() {
            return;
        }
        match entry {
            StoreEntry::RouterInfo(info) if ctx == Context::ROUTER => {
                assert_eq!(self.db.router(&info.hash()), Some(info));
            }
            StoreEntry::RouterInfo(info) if result != Ok(Stored::Known) => {
                let version = self.private.entry((ctx, info.hash())).or_default();
                let future = *version > unix + MAX_AHEAD;
                *version =
                    info.published().max(if future { UnixTime::default() } else { *version });
            }
            StoreEntry::RouterInfo(_) => {}
            StoreEntry::LeaseSet(set) => {
                let own = self.ours.iter().any(|(c, _)| *c == ctx);
                let visible = self.db.lease_set(ctx, &set.key(), unix);
                assert!(own || !is_current(set, unix) || visible == Some(set));
            }
        }
    }

    pub(super) fn drain(&mut self) {
        for round in 0.. {
            assert!(round < 5000, "the actions never end");
            let Some(action) = self.db.poll_action() else { break };
            self.act(action);
        }
        (self.asked, self.confirm) = (None, None);
        self.check();
    }

    fn act(&mut self, action: NetDbAction) {
        let unix = self.unix();
        match action {
            NetDbAction::Query { ctx, lookup, floodfill, key, kind, exclude, direct } => {
                let hash = floodfill.hash();
                self.check_floodfill(ctx, &floodfill);
                assert!(!exclude.contains(&ENTRIES.local) && !exclude.contains(&hash));
                assert!(!direct || ctx == Context::ROUTER && kind == LookupType::RouterInfo);
                assert!(kind != LookupType::Any);
                if self.queries.len() >= REMEMBERED {
                    self.queries.remove(0);
                }
                self.queries.push(Query { ctx, lookup, floodfill: hash, key });
            }
            NetDbAction::Store { ctx, floodfill, entry, token } => {
                self.check_floodfill(ctx, &floodfill);
                assert!(self.ours.contains(&(ctx, bytes(&entry).to_vec())), "not ours to publish");
                assert!(self.tokens.iter().all(|(_, t)| *t != token) && token != 0);
                if self.tokens.len() >= REMEMBERED {
                    self.tokens.remove(0);
                }
                self.tokens.push((ctx, token));
            }
            NetDbAction::Found { ctx, lookup, entry } => {
                let pending = self.lookups.remove(&lookup).unwrap();
                assert_eq!((ctx, entry.key()), (pending.ctx, pending.key));
                let is_router = matches!(entry, StoreEntry::RouterInfo(_));
                assert_eq!(is_router, pending.kind == LookupKind::RouterInfo);
                let shown = self.was_shown(ctx, bytes(&entry));
                let public = is_router && self.was_shown(Context::ROUTER, bytes(&entry));
                assert!(is_genuine(&entry) && (shown || public), "nobody told this context");
            }
            NetDbAction::NotFound { ctx, lookup, key, .. } => {
                let pending = self.lookups.remove(&lookup).unwrap();
                assert_eq!((ctx, key), (pending.ctx, pending.key));
            }
            NetDbAction::Reply { to, tunnel, answer, .. } => {
                let Asked { from, to: asked, key, kind, exclude } = self.asked.as_ref().unwrap();
                assert!(to == *asked && (tunnel.is_some() || *from == Some(to)));
                assert!(self.db.is_floodfill() || *kind == LookupType::RouterInfo);
                match answer {
                    Answer::Store(DatabaseStore { reply, entry }) => {
                        assert!(reply.is_none() && entry.key() == *key);
                        match &entry {
                            StoreEntry::RouterInfo(info) if *key == ENTRIES.local => {
                                assert!(ENTRIES.own.contains(info));
                            }
                            StoreEntry::RouterInfo(info) => {
                                assert_eq!(self.db.router(key), Some(info));
                            }
                            StoreEntry::LeaseSet(set) => {
                                assert!(self.published.contains(set.as_bytes()), "a secret");
                                assert!(is_genuine(&entry) && is_current(set, unix));
                            }
                        }
                    }
                    Answer::SearchReply(DatabaseSearchReply { key: of, peers, from }) => {
                        assert_eq!((of, from), (*key, ENTRIES.local));
                        assert!(peers.len() <= 16 && !peers.contains(&from));
                        assert!(peers.iter().all(|p| !exclude.contains(p)));
                        assert!(peers.iter().all(|p| self.db.router(p).is_some()));
                    }
                }
            }
            NetDbAction::Confirm { token, .. } => {
                assert_eq!(self.confirm.take(), Some(token), "what is not kept, or twice");
            }
            NetDbAction::Flood { to, entry } => {
                assert!(self.db.is_floodfill() && to != ENTRIES.local && to != entry.key());
                let known = self.was_shown(Context::ROUTER, bytes(&entry));
                assert!(is_genuine(&entry) && (known || self.published.contains(bytes(&entry))));
            }
            NetDbAction::Persist(info) => {
                assert!(ENTRIES.is_genuine(info.as_bytes()));
                assert!(self.was_shown(Context::ROUTER, info.as_bytes()));
            }
            NetDbAction::Assess
            | NetDbAction::Renew
            | NetDbAction::Forget(_)
            | NetDbAction::PersistProfile { .. }
            | NetDbAction::ForgetProfile(_) => {}
        }
    }

    /// A context asks and stores to floodfills that everybody knows or only it.
    fn check_floodfill(&self, ctx: Context, info: &RouterInfo) {
        let hash = info.hash();
        assert!(self.contexts.contains(&ctx), "it is gone");
        assert!(hash != ENTRIES.local && ENTRIES.is_genuine(info.as_bytes()));
        match self.db.router(&hash) {
            Some(known) => assert_eq!(known, info),
            None => {
                assert!(self.was_shown(ctx, info.as_bytes()), "another context heard of it");
                assert_eq!(self.private.get(&(ctx, hash)), Some(&info.published()));
            }
        }
    }

    /// What always holds.
    fn check(&mut self) {
        let unix = self.unix();
        let ours = ENTRIES.routers.iter().map(|versions| &versions[0]);
        let all = ours.chain(ENTRIES.crowd.iter().filter(|_| self.crowded));
        let large = self.routers.len() > SMALL_NETWORK;
        for hash in all.map(RouterInfo::hash) {
            let (before, after) = (self.routers.get(&hash), self.db.router(&hash));
            if before == after {
                continue;
            }
            let Some(after) = after else {
                assert!(large, "forgotten in a small network");
                self.routers.remove(&hash);
                continue;
            };
            assert_eq!(after.hash(), hash);
            assert!(ENTRIES.is_genuine(after.as_bytes()), "forged, or of another network");
            assert!(self.was_shown(Context::ROUTER, after.as_bytes()), "a destination's secret");
            let newer = |before: &RouterInfo| {
                before.published() < after.published() || before.published() > unix + MAX_AHEAD
            };
            assert!(before.is_none_or(newer), "an older one took its place");
            self.routers.insert(hash, after.clone());
        }
        assert!(self.db.router(&ENTRIES.local).is_none());
        for (ctx, versions) in
            self.contexts.iter().flat_map(|c| ENTRIES.sets.iter().map(|v| (*c, v)))
        {
            let key = versions[0].key();
            let Some(after) = self.db.lease_set(ctx, &key, unix) else {
                // It is over, or the clock was put back; perhaps it is forgotten.
                let before = self.sets.remove(&(ctx, key));
                assert!(before.is_none_or(|b| !is_current(&b, unix)), "forgotten");
                continue;
            };
            let before = self.sets.insert((ctx, key), after.clone());
            if before.as_ref() == Some(after) {
                continue;
            }
            assert!(after.key() == key && is_current(after, unix));
            assert!(ENTRIES.is_genuine(after.as_bytes()), "forged");
            assert!(self.was_shown(ctx, after.as_bytes()), "another context's");
            let newer = |b: LeaseSet| b.published() < after.published() || !is_current(&b, unix);
            assert!(before.is_none_or(newer), "an older one took its place");
        }
        let counts = self.db.counts();
        assert_eq!(counts.verified + counts.unverified, self.routers.len());
        assert!(counts.verified <= MAX_VERIFIED && counts.unverified <= MAX_UNVERIFIED);
        assert!(counts.lease_sets <= MAX_CONTEXTS * MAX_LEASE_SETS);
        assert!(counts.lookups <= MAX_LOOKUPS && counts.lookups >= self.lookups.len());
        for ctx in self.contexts {
            let pending = self.lookups.values().filter(|l| l.ctx == ctx).count();
            assert!(pending <= MAX_LOOKUPS_PER_CONTEXT);
        }
        assert!(self.db.floodfill_stats().is_none_or(|stats| stats.kept <= MAX_KEPT));
    }
}
