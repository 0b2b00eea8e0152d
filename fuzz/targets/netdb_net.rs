//! The network database among routers that say anything.

use super::input::Input;
use super::netdb_entries::{ENTRIES, NET_ID};
use super::netdb_rules::{
    Asked, LONGEST_LOOKUP, Pending, Query, REMEMBERED, World, bytes, is_genuine,
};
use ramson_core::config;
use ramson_core::netdb::profile::Outcome;
use ramson_core::netdb::{
    Context, LookupKind, MAX_CONTEXTS, NetDb, NetDbConfig, Origin, StoreError, Stored, Unsent,
};
use ramson_core::rng::{Rng, Seed};
use ramson_core::time::Instant;
use ramson_core::wire::hash::Hash;
use ramson_core::wire::i2np::{
    DatabaseLookup, DatabaseSearchReply, DatabaseStore, LookupType, ReplyEncryption, StoreEntry,
    StoreReply,
};
use ramson_core::wire::router_info::{Reach, RouterInfo};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::time::Duration;

impl World {
    fn new(mode: u8) -> Self {
        let config =
            NetDbConfig { local: ENTRIES.local, net_id: NET_ID, reach: Reach::ntcp2(false) };
        let now = Instant::from_micros(1_000_000);
        let contexts = [Context::ROUTER, Context(1), Context(2), Context(3)];
        let mut db = NetDb::new(now, config, Rng::new(&Seed::from_number(mode.into())));
        contexts.iter().for_each(|ctx| db.add_context(*ctx).unwrap());
        let mut world = Self {
            db,
            now,
            set: 0,
            contexts,
            next_context: 4,
            lookups: BTreeMap::new(),
            queries: Vec::new(),
            tokens: Vec::new(),
            claims: Vec::new(),
            shown: BTreeMap::new(),
            published: BTreeSet::new(),
            ours: BTreeSet::new(),
            routers: BTreeMap::new(),
            sets: BTreeMap::new(),
            private: BTreeMap::new(),
            asked: None,
            confirm: None,
            crowded: false,
        };
        // Some routers are known from the start.
        for n in 0..mode & 7 {
            world.restore(ENTRIES.router(n, 1));
        }
        if mode & 8 != 0 {
            world.db.set_role(now, config::Floodfill::On);
        }
        world
    }

    fn restore(&mut self, info: &RouterInfo) {
        let (now, unix, entry) = (self.now, self.unix(), StoreEntry::RouterInfo(info.clone()));
        self.show(Context::ROUTER, &entry);
        let result = self.db.restore(now, unix, info.clone());
        self.judge(Context::ROUTER, &entry, result);
    }

    fn store(&mut self, ctx: Context, from: Option<Hash>, entry: StoreEntry) {
        let (now, unix) = (self.now, self.unix());
        self.show(ctx, &entry);
        let store = DatabaseStore { reply: None, entry: entry.clone() };
        let result = self.db.handle_store(now, unix, ctx, from, store);
        self.judge(ctx, &entry, result);
    }

    /// As `store`, with the signature checked later.
    fn admit(&mut self, ctx: Context, from: Option<Hash>, entry: StoreEntry) {
        let (now, unix) = (self.now, self.unix());
        self.show(ctx, &entry);
        let store = DatabaseStore { reply: None, entry: entry.clone() };
        match self.db.admit(now, unix, ctx, from, store) {
            Ok(Some(claim)) if self.claims.len() < REMEMBERED => {
                self.claims.push((ctx, entry, claim));
            }
            Ok(Some(_)) => {}
            Ok(None) => self.judge(ctx, &entry, Ok(Stored::Known)),
            Err(error) => self.judge(ctx, &entry, Err(error)),
        }
    }

    fn lookup(&mut self, ctx: Context, key: Hash, kind: LookupKind) {
        let id = self.db.lookup(self.now, self.unix(), ctx, key, kind);
        let new = Pending { ctx, key, kind, started: self.now };
        let pending = self.lookups.entry(id).or_insert(new);
        assert_eq!((pending.ctx, pending.key, pending.kind), (ctx, key, kind));
        self.drain();
    }

    /// Time passes, from deadline to deadline or at once.
    fn pass(&mut self, time: Duration, at_once: bool) {
        let until = self.now + time;
        let mut same = 0;
        while let Some(at) = self.db.poll_timeout().filter(|at| *at <= until) {
            let before = self.now;
            self.now = if at_once { until } else { before.max(at) };
            same = if self.now == before { same + 1 } else { 0 };
            assert!(same < 100, "due for ever");
            self.db.handle_timeout(self.now, self.unix());
            self.drain();
        }
        self.now = until;
        let late = |l: &Pending| l.started + LONGEST_LOOKUP <= until;
        assert!(!self.lookups.values().any(late), "a lookup that does not end");
    }

    /// An answer to a query: an entry, or the names of others.
    fn answer(&mut self, op: u8, input: &mut Input<'_>) {
        let (which, version, names) = (input.u8(), input.u8(), input.u8());
        let Some(len) = NonZero::new(self.queries.len()) else { return };
        let Query { ctx, floodfill, key, .. } = self.queries[usize::from(which) % len].clone();
        if !self.contexts.contains(&ctx) {
            return;
        }
        let from = (op & 0x20 != 0).then_some(floodfill);
        if op & 0x10 != 0 {
            let peers = (0..names & 7).map(|n| ENTRIES.hash(version.wrapping_add(n))).collect();
            let reply = DatabaseSearchReply { key, peers, from: floodfill };
            self.db.handle_search_reply(self.now, self.unix(), ctx, from, &reply);
            return;
        }
        let sets = ENTRIES.sets.iter().filter(|v| v[0].key() == key);
        let set = sets.map(|v| StoreEntry::LeaseSet(v[usize::from(version) % v.len()].clone()));
        let routers = ENTRIES.routers.iter().filter(|v| v[0].hash() == key);
        let router =
            routers.map(|v| StoreEntry::RouterInfo(v[usize::from(version) % v.len()].clone()));
        let Some(entry) = set.chain(router).next() else { return };
        if op & 0x40 == 0 {
            self.store(ctx, from, entry);
        } else {
            self.admit(ctx, from, entry);
        }
    }

    /// Somebody publishes to us, or asks us.
    fn request(&mut self, op: u8, input: &mut Input<'_>) {
        let (now, unix) = (self.now, self.unix());
        let (who, version, from, tunnel) = (input.u8(), input.u8(), input.u8(), input.u8());
        let peer = (op & 0x10 != 0).then(|| ENTRIES.hash(from));
        let tunnel = (tunnel & 1 != 0).then_some(77);
        if op & 0x20 != 0 {
            let kind = [
                LookupType::RouterInfo,
                LookupType::LeaseSet,
                LookupType::Any,
                LookupType::Exploration,
            ][usize::from(op >> 6)];
            let (key, to) = (ENTRIES.hash(who), ENTRIES.hash(from));
            let exclude: Vec<Hash> = (0..version & 3).map(|n| ENTRIES.hash(n * 3)).collect();
            let (from, encryption) = (peer, ReplyEncryption::None);
            self.asked = Some(Asked { from, to, key, kind, exclude: exclude.clone() });
            let lookup =
                DatabaseLookup { key, from: to, reply_tunnel: tunnel, kind, exclude, encryption };
            return self.db.handle_lookup(now, unix, from, lookup);
        }
        let entry = if who == 0x7e {
            StoreEntry::RouterInfo(ENTRIES.own[0].clone())
        } else {
            ENTRIES.entry(who, version)
        };
        let token = 1 + u32::from(version);
        let reply = StoreReply { token, tunnel, gateway: ENTRIES.hash(from) };
        let reply = (op & 0x40 != 0).then_some(reply);
        let origin = peer.map_or(Origin::Hidden(None), Origin::Peer);
        match &entry {
            StoreEntry::LeaseSet(_) => {
                self.published.insert(bytes(&entry).to_vec());
            }
            StoreEntry::RouterInfo(_) => self.show(Context::ROUTER, &entry),
        }
        let store = DatabaseStore { reply, entry: entry.clone() };
        let result = self.db.handle_published(now, unix, origin, store);
        let kept = matches!(result, Ok(_) | Err(StoreError::Older | StoreError::Own));
        self.confirm = kept.then_some(token);
        match &entry {
            StoreEntry::RouterInfo(_) => self.judge(Context::ROUTER, &entry, result),
            StoreEntry::LeaseSet(_) => assert!(result.is_err() || is_genuine(&entry)),
        }
    }

    /// What we publish ourselves, and what becomes of it.
    fn publish(&mut self, op: u8, ctx: Context, input: &mut Input<'_>) {
        let (now, unix, which) = (self.now, self.unix(), input.u8());
        let token =
            NonZero::new(self.tokens.len()).map(|len| self.tokens[usize::from(which) % len]);
        match op >> 6 {
            0 if ctx == Context::ROUTER => {
                let info = &ENTRIES.own[usize::from(which) % ENTRIES.own.len()];
                self.ours.insert((ctx, info.as_bytes().to_vec()));
                let _ = self.db.publish_router(now, unix, info.clone());
            }
            0 => {
                // Nobody publishes what somebody else signed.
                let set = ENTRIES.set(which, [0, 1, 2, 4][usize::from(which >> 6)]);
                self.ours.insert((ctx, set.as_bytes().to_vec()));
                let _ = self.db.publish_lease_set(now, unix, ctx, set.clone());
            }
            1 => {
                let Some((of, token)) = token else { return };
                let expected = self.db.handle_delivery_status(now, unix, ctx, token);
                assert!(!expected || of == ctx, "confirmed in another context");
                self.tokens.retain(|(_, t)| *t != token || !expected);
            }
            2 => {
                let Some((_, token)) = token else { return };
                let why = if which & 0x80 == 0 { Unsent::NoTunnel } else { Unsent::Unreachable };
                self.db.handle_store_unsent(now, unix, token, why);
                self.tokens.retain(|(_, t)| *t != token);
            }
            _ if which & 0x80 == 0 => self.db.handle_tunnels(now, unix, ctx),
            _ => self.db.withdraw(ctx, ENTRIES.set(which, 0).key()),
        }
    }

    fn rare(&mut self, op: u8, ctx: Context, input: &mut Input<'_>) {
        let (now, unix, which) = (self.now, self.unix(), input.u8());
        let slot = usize::from(op >> 4 & 3);
        match which >> 4 {
            0..4 if slot != 0 => {
                self.db.remove_context(ctx);
                self.lookups.retain(|_, l| l.ctx != ctx);
                self.tokens.retain(|(c, _)| *c != ctx);
                self.contexts[slot] = Context(self.next_context);
                self.next_context += 1;
                self.db.add_context(self.contexts[slot]).unwrap();
            }
            0..4 => {
                // All that fit, and one more.
                let more = 10_000..10_000 + MAX_CONTEXTS as u32 - 4;
                more.clone().for_each(|n| self.db.add_context(Context(n)).unwrap());
                assert_eq!(self.db.add_context(Context(9_999)), Err(StoreError::Full));
                more.for_each(|n| self.db.remove_context(Context(n)));
            }
            4 => {
                let role = [config::Floodfill::On, config::Floodfill::Off, config::Floodfill::Auto];
                self.db.set_role(now, role[usize::from(which) % 3]);
            }
            5 | 6 => {
                // More than a small network has.
                self.crowded = true;
                let from = usize::from(input.u8()) % ENTRIES.crowd.len();
                for info in ENTRIES.crowd.iter().skip(from).take(usize::from(which & 31)) {
                    self.restore(info);
                }
            }
            7 | 8 => {
                // More than one context may have.
                for n in 0..input.u8() {
                    let key = Hash([n | 1, which, n].repeat(11)[..32].try_into().unwrap());
                    self.lookup(ctx, key, LookupKind::LeaseSet);
                }
            }
            9 => {
                let (n, mut seen) = (usize::from(which & 15), BTreeSet::new());
                let drawn = self.db.draw_candidates(now, unix, n, &[]);
                assert!(drawn.len() <= n && drawn.iter().all(|c| seen.insert(c.hash)));
                assert!(self.db.candidates(now, unix).count() >= seen.len());
            }
            10 => self.db.save(now, unix),
            11 => self.db.explore(now, unix),
            12 => {
                let info = ENTRIES.router(which, input.u8());
                self.show(Context::ROUTER, &StoreEntry::RouterInfo(info.clone()));
                let _ = self.db.reseed(now, unix, info.as_bytes()).unwrap();
            }
            _ => {
                let key = ENTRIES.set(which, 0).key();
                let visible = self.db.lease_set(ctx, &key, unix).cloned();
                assert_eq!(self.db.use_lease_set(now, unix, ctx, &key), visible);
            }
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let op = input.u8();
        let ctx = self.contexts[usize::from(op >> 4 & 3)];
        let (now, unix) = (self.now, self.unix());
        match op & 0x0f {
            0 | 1 => {
                let (who, version) = (input.u8(), input.u8());
                let entry = ENTRIES.entry(who, version);
                let from = (op & 0x40 != 0).then(|| ENTRIES.hash(who >> 2));
                if op & 1 == 0 {
                    self.store(ctx, from, entry)
                } else {
                    self.admit(ctx, from, entry)
                }
            }
            2 => {
                let Some(len) = NonZero::new(self.claims.len()) else { return };
                let (ctx, entry, claim) = self.claims.swap_remove(usize::from(input.u8()) % len);
                let result = self.db.handle_checked(now, unix, claim.verify());
                self.judge(ctx, &entry, result);
            }
            3 => {
                let info = ENTRIES.router(op >> 4, input.u8()).clone();
                let entry = StoreEntry::RouterInfo(info.clone());
                self.show(Context::ROUTER, &entry);
                let result = self.db.handle_peer_info(now, unix, info);
                self.judge(Context::ROUTER, &entry, result);
            }
            4 | 5 => {
                let key = ENTRIES.hash(input.u8());
                let kind = if op & 1 == 0 { LookupKind::LeaseSet } else { LookupKind::RouterInfo };
                self.lookup(ctx, key, kind);
            }
            6 | 7 => self.answer(op, input),
            8 => {
                let which = input.u8();
                let Some(len) = NonZero::new(self.queries.len()) else { return };
                let query = self.queries[usize::from(which) % len].clone();
                let Query { lookup, floodfill, .. } = query;
                match op >> 6 {
                    0 => self.db.handle_query_direct(lookup, &floodfill),
                    1 => self.db.handle_unreachable(now, unix, floodfill),
                    why => {
                        let why = if why == 2 { Unsent::NoTunnel } else { Unsent::Unreachable };
                        self.db.handle_query_unsent(now, unix, lookup, &floodfill, why);
                    }
                }
            }
            9 => self.request(op, input),
            10 => self.publish(op, ctx, input),
            11 => self.rare(op, ctx, input),
            12 => {
                let which = usize::from(input.u8());
                if let Some(len) = NonZero::new(self.lookups.len()) {
                    let id = self.lookups.keys().nth(which % len).copied().unwrap();
                    self.lookups.remove(&id);
                    self.db.cancel_lookup(id);
                }
            }
            13 => {
                let router = ENTRIES.hash(op >> 4);
                let outcome = [
                    Outcome::Connected,
                    Outcome::ConnectFailed,
                    Outcome::Answered,
                    Outcome::Unanswered,
                    Outcome::Misserved,
                    Outcome::BuildRejected,
                ];
                let outcome = outcome[usize::from(input.u8()) % outcome.len()];
                self.db.report(now, unix, router, outcome);
            }
            14 if op & 0x10 != 0 => self.set += i64::from(input.u16() as i16) * 4,
            _ => {
                let time = Duration::from_millis(u64::from(input.u16()) * 2);
                self.pass(time, op & 0x20 != 0);
            }
        }
    }
}

/// The first byte says how many routers are known and whether we are a floodfill. Then operations:
/// entries of all versions arrive, also forged ones, in each context; lookups are made, answered,
/// misanswered, cancelled; others publish to us and ask us; our own entries are published; contexts
/// come and go; time passes, and the wall clock is set.
///
/// What is there was shown to that context and nowhere else, is signed, and never gave way to an older
/// one. Lookups end, in time and once. Only what was published to us is told to others.
pub fn netdb_ops(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(input.u8());
    for _ in 0..120 {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
        world.drain();
    }
    world.pass(LONGEST_LOOKUP, false);
    assert!(world.lookups.is_empty());
    world.pass(Duration::from_secs(300), true);
}
