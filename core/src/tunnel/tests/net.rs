//! A network in a test: links with latency, loss and reorder, and a clock.

use crate::config::Timing;
use crate::crypto::x25519::{PrivateKey, PublicKey};
use crate::rng::{Rng, Seed};
use crate::time::{Instant, UnixTime};
use crate::tunnel::select::{Candidate, Group, PathRequest, select};
use crate::tunnel::{
    Hop, Outcome, PoolConfig, PoolId, PoolStats, TransitLimits, TunnelAction, TunnelConfig, Tunnels,
};
use crate::wire::hash::Hash;
use crate::wire::i2np::{Message, MessageType};
use crate::wire::tunnel::{Delivery, tunnel_id};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use sha2::{Digest, Sha256};

pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) latency: Duration,
    /// Of messages between routers, except build messages.
    pub(super) loss_percent: u64,
    /// Up to this much later.
    pub(super) jitter: Duration,
    pub(super) dead: BTreeSet<Hash>,
    /// Routers that take part but lose every cell.
    pub(super) droppers: BTreeMap<Hash, u64>,
    pub(super) same_group: bool,
    pub(super) groups: fn(usize) -> Group,
    /// Of cells and build messages: one bit flipped, or cut short.
    pub(super) corrupt_percent: u64,
    /// Every message delivered twice.
    pub(super) duplicate: bool,
    /// So many of the next wrapped requests find no tunnel.
    pub(super) unsent: usize,
    pub(super) cells: u64,
    order: Vec<Hash>,
    nodes: BTreeMap<Hash, Node>,
    events: BTreeMap<(Instant, u64), (Hash, Hash, Message)>,
    sequence: u64,
    rng: Rng,
    trace: Sha256,
}

struct Node {
    tunnels: Tunnels,
    key: PublicKey,
    received: Vec<(Option<PoolId>, Message)>,
    reports: Vec<(Hash, Outcome)>,
    changes: usize,
}

pub(super) fn shape(length: u8, quantity: u8) -> PoolConfig {
    PoolConfig {
        inbound_length: length,
        outbound_length: length,
        variance: 0,
        inbound_quantity: quantity,
        outbound_quantity: quantity,
    }
}

pub(super) fn data(len: usize, unix: UnixTime) -> Message {
    let body = (0..len).map(|i| (i * 31 + len) as u8).collect();
    let expires = unix + Duration::from_secs(20);
    Message { kind: MessageType::DATA, id: len as u32, expires, body }
}

impl Net {
    pub(super) fn new(seed: u64, routers: usize) -> Self {
        let mut net = Self {
            now: Instant::from_micros(1_000_000),
            latency: Duration::from_millis(5),
            loss_percent: 0,
            jitter: Duration::ZERO,
            dead: BTreeSet::new(),
            droppers: BTreeMap::new(),
            same_group: true,
            groups: |_| Group::V4([127, 0]),
            corrupt_percent: 0,
            duplicate: false,
            unsent: 0,
            cells: 0,
            order: Vec::new(),
            nodes: BTreeMap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            rng: Rng::new(&Seed::from_number(seed)),
            trace: Sha256::new(),
        };
        for _ in 0..routers {
            net.add_router();
        }
        net
    }

    pub(super) fn add_router(&mut self) -> Hash {
        let key = Arc::new(PrivateKey::generate(&mut self.rng));
        let local = Hash(self.rng.bytes());
        let public = key.public();
        let transit = TransitLimits { requests_per_hop: 200, ..TransitLimits::default() };
        let rng = self.rng.fork("tunnels");
        let tunnels =
            Tunnels::new(TunnelConfig { local, transit, timing: Timing::default() }, key, rng);
        self.nodes.insert(
            local,
            Node { tunnels, key: public, received: Vec::new(), reports: Vec::new(), changes: 0 },
        );
        self.order.push(local);
        local
    }

    pub(super) fn unix(&self) -> UnixTime {
        UnixTime::from_millis(1_800_000_000_000 + self.now.as_micros() / 1000)
    }

    pub(super) fn hash(&self, n: usize) -> Hash {
        self.order[n]
    }

    pub(super) fn key(&self, router: Hash) -> PublicKey {
        self.nodes[&router].key
    }

    pub(super) fn index(&self, hash: Hash) -> usize {
        self.order.iter().position(|h| *h == hash).unwrap()
    }

    pub(super) fn routers(&self) -> Vec<Hash> {
        self.order.clone()
    }

    pub(super) fn tunnels(&self, router: Hash) -> &Tunnels {
        &self.nodes[&router].tunnels
    }

    pub(super) fn tunnels_mut(&mut self, router: Hash) -> &mut Tunnels {
        &mut self.nodes.get_mut(&router).unwrap().tunnels
    }

    pub(super) fn stats(&self, router: Hash, pool: PoolId) -> PoolStats {
        self.tunnels(router).pool_stats(self.now, pool).unwrap()
    }

    pub(super) fn add_pool(&mut self, router: Hash, pool: PoolId, config: PoolConfig) {
        let (now, unix) = (self.now, self.unix());
        self.tunnels_mut(router).add_pool(now, unix, pool, config);
        self.drain(router);
    }

    pub(super) fn gateway(&mut self, router: Hash, pool: PoolId) -> (Hash, u32) {
        let now = self.now;
        self.tunnels_mut(router).inbound_gateway(now, pool).unwrap()
    }

    pub(super) fn send(&mut self, from: Hash, pool: PoolId, delivery: Delivery, message: Message) {
        let (now, unix) = (self.now, self.unix());
        let tunnels = self.tunnels_mut(from);
        let via = tunnels.pick_outbound(now, pool).unwrap();
        tunnels.send(now, unix, via, delivery, message).unwrap();
        self.drain(from);
    }

    /// Hands a message over as if `from` had sent it.
    pub(super) fn inject(&mut self, from: Hash, to: Hash, message: Message) {
        self.arrive(from, to, message);
    }

    pub(super) fn take_received(&mut self, router: Hash) -> Vec<(Option<PoolId>, Message)> {
        core::mem::take(&mut self.nodes.get_mut(&router).unwrap().received)
    }

    pub(super) fn take_reports(&mut self, router: Hash) -> Vec<(Hash, Outcome)> {
        core::mem::take(&mut self.nodes.get_mut(&router).unwrap().reports)
    }

    pub(super) fn changes(&self, router: Hash) -> usize {
        self.nodes[&router].changes
    }

    pub(super) fn digest(self) -> [u8; 32] {
        self.trace.finalize().into()
    }

    pub(super) fn run_secs(&mut self, secs: u64) {
        self.run_until(self.now + Duration::from_secs(secs));
    }

    pub(super) fn run_until(&mut self, end: Instant) {
        loop {
            let event = self.events.keys().next().copied();
            let timer = self
                .nodes
                .iter()
                .filter(|(hash, _)| !self.dead.contains(hash))
                .filter_map(|(hash, n)| Some((n.tunnels.poll_timeout()?, *hash)))
                .min();
            match (event, timer) {
                (Some(key), timer) if key.0 <= end && timer.is_none_or(|(at, _)| key.0 <= at) => {
                    self.now = self.now.max(key.0);
                    let (from, to, message) = self.events.remove(&key).unwrap();
                    self.arrive(from, to, message);
                }
                (_, Some((at, router))) if at <= end => {
                    self.now = self.now.max(at);
                    let (now, unix) = (self.now, self.unix());
                    self.tunnels_mut(router).handle_timeout(now, unix);
                    self.drain(router);
                    let next = self.tunnels(router).poll_timeout();
                    assert!(next.is_none_or(|n| n > now), "a deadline that does not pass");
                }
                _ => break,
            }
        }
        self.now = end;
    }

    fn arrive(&mut self, from: Hash, to: Hash, message: Message) {
        if self.dead.contains(&to) {
            return;
        }
        let is_cell = message.kind == MessageType::TUNNEL_DATA;
        let carries = is_cell || message.kind == MessageType::TUNNEL_GATEWAY;
        if let Some(percent) = self.droppers.get(&to).copied()
            && carries
            && self.tunnels(to).transit.contains(tunnel_id(&message.body).unwrap())
            && self.rng.below(100) < percent
        {
            return;
        }
        self.cells += u64::from(is_cell);
        self.trace.update(self.now.as_micros().to_be_bytes());
        self.trace.update(to.0);
        self.trace.update(&message.body);
        let (now, unix) = (self.now, self.unix());
        let back = self.tunnels_mut(to).handle_message(now, unix, Some(from), message);
        if let Some(message) = back {
            self.receive(to, None, message);
        }
        self.drain(to);
    }

    /// What the router does with messages: unwrapping "garlic", which here is a marker and the
    /// message in clear.
    fn receive(&mut self, router: Hash, pool: Option<PoolId>, message: Message) {
        let (now, unix) = (self.now, self.unix());
        if pool.is_none()
            && message.kind == MessageType::GARLIC
            && let Some(inner) = message.body.strip_prefix(b"wrap")
        {
            let inner = Message::decode_short(inner).unwrap();
            let rest = self.tunnels_mut(router).handle_message(now, unix, None, inner);
            assert_eq!(rest, None);
        } else {
            self.nodes.get_mut(&router).unwrap().received.push((pool, message));
        }
    }

    pub(super) fn drain(&mut self, router: Hash) {
        let (now, unix) = (self.now, self.unix());
        while let Some(action) = self.tunnels_mut(router).poll_action() {
            match action {
                TunnelAction::NeedPath { build, pool, direction, length, avoid } => {
                    let path = self.choose(router, pool, direction, length, &avoid);
                    self.tunnels_mut(router).handle_path(now, unix, build, &path);
                }
                TunnelAction::Send { to, message, .. } => self.post(router, to, message),
                TunnelAction::SendWrapped { build, .. } if self.unsent > 0 => {
                    self.unsent -= 1;
                    self.tunnels_mut(router).handle_unsent(now, unix, build);
                }
                TunnelAction::SendWrapped { to, key, via, message, .. } => {
                    assert_eq!(self.nodes[&to].key, key);
                    let mut body = b"wrap".to_vec();
                    message.encode_short(&mut body);
                    let wrapped = Message { kind: MessageType::GARLIC, body, ..message };
                    let delivery = Delivery::Router(to);
                    let tunnels = self.tunnels_mut(router);
                    tunnels.send(now, unix, via, delivery, wrapped).unwrap();
                }
                TunnelAction::Received { pool, message } => self.receive(router, pool, message),
                TunnelAction::PoolChanged(_) => {
                    self.nodes.get_mut(&router).unwrap().changes += 1;
                }
                TunnelAction::Report { peer, outcome } => {
                    self.nodes.get_mut(&router).unwrap().reports.push((peer, outcome));
                }
                TunnelAction::Job(job) => {
                    let done = if job.is_stale(now) { job.skip() } else { job.run() };
                    self.tunnels_mut(router).handle_job(now, unix, done);
                }
            }
        }
        let tunnels = self.tunnels(router);
        for pool in tunnels.pools.keys() {
            assert!(tunnels.builds.values().filter(|b| b.pool == *pool).count() <= 3);
        }
    }

    /// A router as one that might become a hop.
    pub(super) fn candidate(&self, n: usize) -> Candidate {
        let hash = self.order[n];
        Candidate {
            hash,
            key: self.nodes[&hash].key,
            groups: vec![(self.groups)(n)],
            v4: true,
            v6: false,
            published_v4: true,
            published_v6: false,
            connected: false,
            weight: 10,
            share: 0,
        }
    }

    fn choose(
        &mut self,
        router: Hash,
        pool: PoolId,
        direction: crate::tunnel::Direction,
        length: usize,
        avoid: &[Hash],
    ) -> Vec<Hop> {
        let candidates: Vec<Candidate> = (0..self.order.len())
            .map(|n| {
                let mut candidate = self.candidate(n);
                self.tunnels(router).favour(self.now, pool, false, &mut candidate);
                candidate
            })
            .collect();
        let request = PathRequest {
            direction,
            length,
            local: router,
            local_v4: true,
            local_v6: false,
            local_published: true,
            same_group: self.same_group,
            avoid,
        };
        select(&request, &candidates, &mut self.rng).unwrap_or_default()
    }

    fn post(&mut self, from: Hash, to: Hash, mut message: Message) {
        assert_ne!(from, to, "never to ourselves");
        let cell = message.kind == MessageType::TUNNEL_DATA;
        let build = message.kind == MessageType::SHORT_TUNNEL_BUILD;
        if (cell || build) && self.rng.below(100) < self.corrupt_percent {
            let at = self.rng.index(message.body.len());
            if self.rng.below(10) == 0 {
                message.body.truncate(at);
            } else {
                message.body[at] ^= 1 << self.rng.below(8);
            }
        }
        if cell && self.rng.below(100) < self.loss_percent {
            return;
        }
        let copies = if cell && self.duplicate { 2 } else { 1 };
        for _ in 0..copies {
            let jitter = self.rng.below(self.jitter.as_micros() as u64 + 1);
            let at = self.now + self.latency + Duration::from_micros(jitter);
            self.sequence += 1;
            self.events.insert((at, self.sequence), (from, to, message.clone()));
        }
    }
}
