//! A little network in virtual time: some [`NetDb`]s and many simple floodfills, some of them bad.

use crate::netdb::routing_key::RoutingKey;
use crate::netdb::testing::{Maker, NET_ID, UNIX, at};
use crate::netdb::*;
use crate::rng::{Rng, Seed};
use crate::time::{Instant, UnixTime};
use crate::wire::i2np::DatabaseSearchReply;
use crate::wire::router_info::Reach;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

/// What a floodfill does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    Honest,
    /// Never answers.
    Silent,
    /// Confirms stores and keeps nothing.
    Drops,
    /// Keeps the first version of everything.
    Stale,
    /// Confirms, keeps nothing, and names these to whoever asks.
    Names(Vec<Hash>),
    /// Answers with this.
    Says(StoreEntry),
}

pub(super) struct Floodfill {
    pub(super) info: RouterInfo,
    pub(super) nature: Nature,
    pub(super) entries: BTreeMap<Hash, StoreEntry>,
    /// Queries received, by context.
    pub(super) queries: Vec<(Context, Hash, LookupType)>,
    pub(super) stores: usize,
}

pub(super) struct Node {
    pub(super) netdb: NetDb,
    pub(super) found: BTreeMap<LookupId, StoreEntry>,
    pub(super) not_found: BTreeMap<LookupId, LookupFailure>,
    pub(super) renewals: usize,
    pub(super) written: Vec<RouterInfo>,
    pub(super) forgotten: Vec<Hash>,
    pub(super) profiles: BTreeMap<Hash, Vec<u8>>,
    pub(super) replies: Vec<(Hash, Option<u32>, Answer)>,
    pub(super) queries: usize,
    pub(super) direct_queries: usize,
    /// Floodfills that got a store, in order.
    pub(super) stores: Vec<(Context, Hash, UnixTime)>,
}

enum Message {
    Query { key: Hash, kind: LookupType, exclude: Vec<Hash> },
    Store { entry: StoreEntry, token: u32 },
    Entry(StoreEntry),
    SearchReply(DatabaseSearchReply),
    Confirm(u32),
    Flooded(StoreEntry),
}

enum Target {
    Floodfill { hash: Hash, node: usize, ctx: Context },
    Node { node: usize, ctx: Context },
}

pub(super) struct World {
    pub(super) now: Instant,
    /// The wall clock at the zero of `now`.
    pub(super) epoch: UnixTime,
    pub(super) nodes: Vec<Node>,
    pub(super) floodfills: BTreeMap<Hash, Floodfill>,
    /// Per cent of messages that get lost.
    pub(super) loss: u64,
    /// Milliseconds, from and to.
    pub(super) delay: (u64, u64),
    /// Every query and store: the trace.
    pub(super) trace: Vec<(u64, u8, Hash, Hash)>,
    pub(super) rng: Rng,
    events: BTreeMap<(Instant, u64), (Target, Message)>,
    sequence: u64,
}

impl World {
    /// Honest floodfills numbered from 0.
    pub(super) fn new(seed: u64, floodfills: u64) -> Self {
        let mut world = Self {
            now: at(0),
            epoch: UNIX,
            nodes: Vec::new(),
            floodfills: BTreeMap::new(),
            loss: 0,
            delay: (100, 400),
            trace: Vec::new(),
            rng: Rng::new(&Seed::from_number(seed)),
            events: BTreeMap::new(),
            sequence: 0,
        };
        for n in 0..floodfills {
            world.add_floodfill(Maker::floodfill(n).build(), Nature::Honest);
        }
        world
    }

    pub(super) fn unix(&self) -> UnixTime {
        self.epoch + self.now.saturating_since(Instant::ZERO)
    }

    pub(super) fn add_floodfill(&mut self, info: RouterInfo, nature: Nature) -> Hash {
        let hash = info.hash();
        let floodfill =
            Floodfill { info, nature, entries: BTreeMap::new(), queries: Vec::new(), stores: 0 };
        self.floodfills.insert(hash, floodfill);
        hash
    }

    /// A router that knows the first `known` floodfills, in the order of their hashes.
    pub(super) fn add_node(&mut self, n: u64, known: usize) -> usize {
        let local = Maker::new(900_000 + n).hash();
        let config = NetDbConfig { local, net_id: NET_ID, reach: Reach::ntcp2(false) };
        let rng = Rng::new(&Seed::from_number(n));
        let mut netdb = NetDb::new(self.now, config, rng);
        let unix = self.unix();
        for floodfill in self.floodfills.values().take(known) {
            // Verified once, when the world was made.
            let _ = netdb.restore(self.now, unix, floodfill.info.clone());
        }
        self.nodes.push(Node {
            netdb,
            found: BTreeMap::new(),
            not_found: BTreeMap::new(),
            renewals: 0,
            written: Vec::new(),
            forgotten: Vec::new(),
            profiles: BTreeMap::new(),
            replies: Vec::new(),
            queries: 0,
            direct_queries: 0,
            stores: Vec::new(),
        });
        self.nodes.len() - 1
    }

    /// Our own RouterInfo of a node, made now.
    pub(super) fn own_info(&self, n: u64) -> RouterInfo {
        Maker::new(900_000 + n).published(self.unix()).build()
    }

    /// All floodfills, nearest to `key` first.
    pub(super) fn nearest(&self, key: &Hash, unix: UnixTime) -> Vec<Hash> {
        let target = RoutingKey::new(key, unix);
        let mut all: Vec<Hash> = self.floodfills.keys().copied().collect();
        all.sort_by_key(|h| target.distance(h));
        all
    }

    /// Puts an entry where a publisher would have put it.
    pub(super) fn place(&mut self, entry: &StoreEntry) {
        let unix = self.unix();
        for hash in self.nearest(&entry.key(), unix).into_iter().take(3) {
            self.floodfills.get_mut(&hash).unwrap().keep(entry.clone());
        }
    }

    /// Starts a lookup.
    pub(super) fn lookup(
        &mut self,
        node: usize,
        ctx: Context,
        key: Hash,
        kind: LookupKind,
    ) -> LookupId {
        let (now, unix) = (self.now, self.unix());
        let id = self.nodes[node].netdb.lookup(now, unix, ctx, key, kind);
        self.drain(node);
        id
    }

    /// Looks a lease set up and waits for the end.
    pub(super) fn find_lease_set(
        &mut self,
        node: usize,
        ctx: Context,
        key: Hash,
    ) -> Result<StoreEntry, LookupFailure> {
        let id = self.lookup(node, ctx, key, LookupKind::LeaseSet);
        self.finish(node, id)
    }

    /// Waits for the end of a lookup.
    pub(super) fn finish(
        &mut self,
        node: usize,
        id: LookupId,
    ) -> Result<StoreEntry, LookupFailure> {
        let limit = self.now + Duration::from_secs(25);
        while self.now < limit {
            if let Some(entry) = self.nodes[node].found.remove(&id) {
                return Ok(entry);
            }
            if let Some(why) = self.nodes[node].not_found.remove(&id) {
                return Err(why);
            }
            self.run(50);
        }
        panic!("{id:?} did not end in time");
    }

    /// Runs for `ms`.
    pub(super) fn run(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        for node in 0..self.nodes.len() {
            self.drain(node);
        }
        loop {
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let timers = self.nodes.iter().enumerate();
            let timer = timers.filter_map(|(i, n)| Some((n.netdb.poll_timeout()?, i))).min();
            match (event, timer) {
                (Some(at), timer) if at <= end && timer.is_none_or(|(t, _)| at <= t) => {
                    self.now = self.now.max(at);
                    let ((_, _), (target, message)) = self.events.pop_first().unwrap();
                    self.deliver(target, message);
                }
                (_, Some((at, node))) if at <= end => {
                    self.now = self.now.max(at);
                    let unix = self.unix();
                    self.nodes[node].netdb.handle_timeout(self.now, unix);
                    self.drain(node);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    /// Does what the node wants.
    pub(super) fn drain(&mut self, index: usize) {
        while let Some(action) = self.nodes[index].netdb.poll_action() {
            let time = self.now.as_micros();
            let node = &mut self.nodes[index];
            match action {
                NetDbAction::Query { ctx, floodfill, key, kind, exclude, direct, lookup } => {
                    node.queries += 1;
                    node.direct_queries += usize::from(direct);
                    assert!(!exclude.contains(&floodfill.hash()));
                    self.trace.push((time, 0, floodfill.hash(), key));
                    let _ = lookup;
                    let target = Target::Floodfill { hash: floodfill.hash(), node: index, ctx };
                    self.send(target, Message::Query { key, kind, exclude });
                }
                NetDbAction::Store { ctx, floodfill, entry, token } => {
                    assert!(token != 0 && token != u32::MAX);
                    self.trace.push((time, 1, floodfill.hash(), entry.key()));
                    let published = match &entry {
                        StoreEntry::RouterInfo(info) => info.published(),
                        StoreEntry::LeaseSet(set) => set.published(),
                    };
                    node.stores.push((ctx, floodfill.hash(), published));
                    let target = Target::Floodfill { hash: floodfill.hash(), node: index, ctx };
                    self.send(target, Message::Store { entry, token });
                }
                NetDbAction::Found { lookup, entry, .. } => {
                    assert!(node.found.insert(lookup, entry).is_none());
                }
                NetDbAction::NotFound { lookup, reason, .. } => {
                    assert!(node.not_found.insert(lookup, reason).is_none());
                }
                NetDbAction::Reply { to, tunnel, answer, .. } => {
                    node.replies.push((to, tunnel, answer));
                }
                NetDbAction::Confirm { .. } | NetDbAction::Flood { .. } | NetDbAction::Assess => {
                    panic!("it is no floodfill");
                }
                NetDbAction::Renew => node.renewals += 1,
                NetDbAction::Persist(info) => node.written.push(info),
                NetDbAction::Forget(hash) => node.forgotten.push(hash),
                NetDbAction::PersistProfile { router, bytes } => {
                    node.profiles.insert(router, bytes);
                }
                NetDbAction::ForgetProfile(hash) => {
                    node.profiles.remove(&hash);
                }
            }
        }
    }

    fn send(&mut self, target: Target, message: Message) {
        if self.rng.below(100) < self.loss {
            return;
        }
        let delay = Duration::from_millis(self.rng.between(self.delay.0, self.delay.1));
        self.sequence += 1;
        self.events.insert((self.now + delay, self.sequence), (target, message));
    }

    fn deliver(&mut self, target: Target, message: Message) {
        match target {
            Target::Node { node, ctx } => {
                let (now, unix) = (self.now, self.unix());
                let netdb = &mut self.nodes[node].netdb;
                match message {
                    Message::Entry(entry) => {
                        let store = DatabaseStore { reply: None, entry };
                        let _ = netdb.handle_store(now, unix, ctx, None, store);
                    }
                    Message::SearchReply(reply) => {
                        netdb.handle_search_reply(now, unix, ctx, None, &reply);
                    }
                    Message::Confirm(token) => {
                        netdb.handle_delivery_status(now, unix, ctx, token);
                    }
                    Message::Query { .. } | Message::Store { .. } | Message::Flooded(_) => {}
                }
                self.drain(node);
            }
            Target::Floodfill { hash, node, ctx } => {
                self.at_floodfill(hash, node, ctx, message);
            }
        }
    }

    fn at_floodfill(&mut self, hash: Hash, node: usize, ctx: Context, message: Message) {
        let unix = self.unix();
        let Some(floodfill) = self.floodfills.get_mut(&hash) else { return };
        let nature = floodfill.nature.clone();
        if nature == Nature::Silent {
            return;
        }
        let back = Target::Node { node, ctx };
        match message {
            Message::Query { key, kind, exclude } => {
                floodfill.queries.push((ctx, key, kind));
                let entry = floodfill
                    .entries
                    .get(&key)
                    .cloned()
                    .filter(|_| kind != LookupType::Exploration);
                let info = self.floodfills.get(&key).map(|f| f.info.clone());
                let answer = match (nature, entry) {
                    (Nature::Says(entry), _) => Message::Entry(entry),
                    (Nature::Names(peers), _) if info.is_none() => {
                        Message::SearchReply(DatabaseSearchReply { key, peers, from: hash })
                    }
                    (_, Some(entry)) => Message::Entry(entry),
                    (_, None) => match info {
                        // Floodfills know each other.
                        Some(info) if kind == LookupType::RouterInfo => {
                            Message::Entry(StoreEntry::RouterInfo(info))
                        }
                        _ => {
                            let target = RoutingKey::new(&key, unix);
                            let near = self.nearest(&key, unix).into_iter();
                            let peers = near
                                .take_while(|h| target.distance(h) < target.distance(&hash))
                                .filter(|h| !exclude.contains(h))
                                .take(3)
                                .collect();
                            Message::SearchReply(DatabaseSearchReply { key, peers, from: hash })
                        }
                    },
                };
                self.send(back, answer);
            }
            Message::Store { entry, token } => {
                floodfill.stores += 1;
                floodfill.keep(entry.clone());
                let floods = matches!(nature, Nature::Honest | Nature::Stale);
                self.send(back, Message::Confirm(token));
                if floods {
                    let near = self.nearest(&entry.key(), unix);
                    for other in near.into_iter().filter(|h| *h != hash).take(3) {
                        let target = Target::Floodfill { hash: other, node, ctx };
                        self.send(target, Message::Flooded(entry.clone()));
                    }
                }
            }
            Message::Flooded(entry) => floodfill.keep(entry),
            Message::Entry(_) | Message::SearchReply(_) | Message::Confirm(_) => {}
        }
    }
}

impl Floodfill {
    pub(super) fn keep(&mut self, entry: StoreEntry) {
        let stamp = |e: &StoreEntry| match e {
            StoreEntry::RouterInfo(info) => info.published(),
            StoreEntry::LeaseSet(set) => set.published(),
        };
        match self.nature {
            Nature::Honest => {
                let known = self.entries.get(&entry.key());
                if known.is_none_or(|k| stamp(k) < stamp(&entry)) {
                    self.entries.insert(entry.key(), entry);
                }
            }
            Nature::Stale => {
                self.entries.entry(entry.key()).or_insert(entry);
            }
            Nature::Silent | Nature::Drops | Nature::Names(_) | Nature::Says(_) => {}
        }
    }
}
