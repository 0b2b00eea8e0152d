//! The tunnel layer: a creator and three hops in one process.

use crate::harness::Bench;
use crate::primitives::rng;
use ramson_core::config::Timing;
use ramson_core::crypto::x25519::{PrivateKey, PublicKey};
use ramson_core::garlic::router::{self, Opener};
use ramson_core::rng::Rng;
use ramson_core::time::{Instant, UnixTime};
use ramson_core::tunnel::{
    Hop, OutboundId, PoolConfig, PoolId, TransitLimits, TunnelAction, TunnelConfig, Tunnels,
};
use ramson_core::wire::garlic::{self, Clove};
use ramson_core::wire::hash::Hash;
use ramson_core::wire::i2np::{Message, MessageType};
use ramson_core::wire::tunnel::Delivery;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

const START: UnixTime = UnixTime::from_secs(1_800_000_000);
/// Fits one cell.
const SMALL: usize = 900;
/// What a full stream packet in a garlic message is about: two cells.
const LARGE: usize = 1900;

struct Node {
    tunnels: Tunnels,
    key: PublicKey,
    opener: Opener,
}

/// Node 0 creates, nodes 1 to 3 are its hops in both directions.
struct Net {
    nodes: Vec<Node>,
    wire: VecDeque<(usize, usize, Message)>,
    now: Instant,
    rng: Rng,
    received: usize,
}

const fn hash(n: usize) -> Hash {
    Hash([n as u8 + 1; 32])
}

const fn index(hash: &Hash) -> usize {
    (hash.0[0] - 1) as usize
}

impl Net {
    fn new() -> Self {
        let mut rng = rng();
        let nodes = (0..5).map(|n| {
            let key = Arc::new(PrivateKey::generate(&mut rng));
            let config = TunnelConfig {
                local: hash(n),
                transit: TransitLimits::default(),
                timing: Timing::default(),
            };
            let tunnels = Tunnels::new(config, key.clone(), rng.fork("tunnels"));
            Node { tunnels, key: key.public(), opener: Opener::new(key) }
        });
        let nodes = nodes.collect();
        let now = Instant::from_micros(1_000_000);
        let mut net = Self { nodes, wire: VecDeque::new(), now, rng, received: 0 };
        let shape = PoolConfig {
            inbound_length: 3,
            outbound_length: 3,
            variance: 0,
            inbound_quantity: 1,
            outbound_quantity: 1,
        };
        let unix = net.unix();
        net.nodes[0].tunnels.add_pool(net.now, unix, PoolId::EXPLORATORY, shape);
        for _ in 0..200 {
            net.settle();
            net.now = net.now + Duration::from_millis(100);
            let unix = net.unix();
            net.nodes[0].tunnels.handle_timeout(net.now, unix);
            let stats = net.nodes[0].tunnels.pool_stats(net.now, PoolId::EXPLORATORY).unwrap();
            if stats.inbound >= 1 && stats.outbound >= 1 && stats.tests_passed >= 1 {
                net.settle();
                return net;
            }
        }
        unreachable!("no tunnels: {:?}", net.nodes[0].tunnels.pool_stats(net.now, PoolId(0)));
    }

    fn unix(&self) -> UnixTime {
        START + self.now.saturating_since(Instant::ZERO)
    }

    /// Until nobody has anything to say.
    fn settle(&mut self) {
        loop {
            for n in 0..self.nodes.len() {
                self.drain(n);
            }
            let Some((from, to, message)) = self.wire.pop_front() else { return };
            let unix = self.unix();
            let node = &mut self.nodes[to].tunnels;
            if let Some(back) = node.handle_message(self.now, unix, Some(hash(from)), message) {
                self.receive(to, back);
            }
        }
    }

    fn drain(&mut self, n: usize) {
        let (now, unix) = (self.now, self.unix());
        while let Some(action) = self.nodes[n].tunnels.poll_action() {
            match action {
                TunnelAction::NeedPath { build, length, .. } => {
                    let hop = |n: usize| Hop { hash: hash(n), key: self.nodes[n].key };
                    let hops: Vec<Hop> = (1..=length).map(hop).collect();
                    self.nodes[n].tunnels.handle_path(now, unix, build, &hops);
                }
                TunnelAction::Send { to, message, .. } => {
                    self.wire.push_back((n, index(&to), message));
                }
                TunnelAction::SendWrapped { to, key, via, message, .. } => {
                    let (id, expires) = (message.id, message.expires);
                    let clove = Clove { delivery: garlic::Delivery::Local, message };
                    let body = router::seal(unix, &key, &[clove], &mut self.rng).unwrap();
                    let wrapped = Message { kind: MessageType::GARLIC, id, expires, body };
                    let delivery = Delivery::Router(to);
                    self.nodes[n].tunnels.send(now, unix, via, delivery, wrapped).unwrap();
                }
                TunnelAction::Received { pool: None, message } => self.receive(n, message),
                TunnelAction::Received { .. } => self.received += 1,
                TunnelAction::Job(job) => {
                    self.nodes[n].tunnels.handle_job(now, unix, job.run());
                }
                TunnelAction::PoolChanged(_) | TunnelAction::Report { .. } | _ => {}
            }
        }
    }

    fn receive(&mut self, n: usize, mut message: Message) {
        let (now, unix) = (self.now, self.unix());
        if message.kind != MessageType::GARLIC {
            self.received += 1;
            return;
        }
        for clove in self.nodes[n].opener.open(unix, &mut message.body).unwrap() {
            self.nodes[n].tunnels.handle_message(now, unix, None, clove.message);
        }
    }

    fn via(&mut self) -> OutboundId {
        self.nodes[0].tunnels.pick_outbound(self.now, PoolId::EXPLORATORY).unwrap()
    }

    /// The creator sends to node 4; what comes out are the cells for node 1.
    fn send(&mut self, len: usize) -> Vec<Message> {
        let (via, unix) = (self.via(), self.unix());
        let message = data(len, unix);
        let tunnels = &mut self.nodes[0].tunnels;
        tunnels.send(self.now, unix, via, Delivery::Router(hash(4)), message).unwrap();
        sends(tunnels)
    }

    /// `n` cells on their way into node `hop`.
    fn cells(&mut self, hop: usize, n: usize) -> Vec<Message> {
        self.now = self.now + Duration::from_micros(10);
        let mut cells: Vec<Message> = (0..n).flat_map(|_| self.send(SMALL)).collect();
        for node in 1..hop {
            cells = cells.into_iter().flat_map(|cell| self.relay(node, cell)).collect();
        }
        cells
    }

    /// Node `n` takes a message from the node before it.
    fn relay(&mut self, n: usize, message: Message) -> Vec<Message> {
        let unix = self.unix();
        let tunnels = &mut self.nodes[n].tunnels;
        tunnels.handle_message(self.now, unix, Some(hash(n - 1)), message);
        sends(tunnels)
    }
}

fn sends(tunnels: &mut Tunnels) -> Vec<Message> {
    let mut out = Vec::new();
    while let Some(action) = tunnels.poll_action() {
        if let TunnelAction::Send { message, .. } = action {
            out.push(message);
        }
    }
    out
}

fn data(len: usize, unix: UnixTime) -> Message {
    let expires = unix + Duration::from_secs(20);
    Message { kind: MessageType::DATA, id: 7, expires, body: vec![0x5a; len] }
}

pub(crate) fn add(bench: &mut Bench) {
    bench.add("tunnel creator, 3 hops, 900 B", SMALL, || {
        let mut net = Net::new();
        move || assert_eq!(net.send(SMALL).len(), 1)
    });
    bench.add("tunnel creator, 3 hops, 1900 B", LARGE, || {
        let mut net = Net::new();
        move || assert_eq!(net.send(LARGE).len(), 2)
    });
    // A cell that the filter takes for a repetition, one in 100,000, is not relayed.
    bench.add_batched("tunnel participant, a cell", 1028, || {
        let relay: fn(&mut Net, Message) -> usize = |net, cell| net.relay(2, cell).len();
        (Net::new(), |net, n| filled(net, 2, n), relay)
    });
    bench.add_batched("tunnel outbound endpoint, a cell", 1028, || {
        let relay: fn(&mut Net, Message) -> usize = |net, cell| net.relay(3, cell).len();
        (Net::new(), |net, n| filled(net, 3, n), relay)
    });
    bench.add("tunnel whole way, out and in, 900 B", SMALL, || {
        let mut net = Net::new();
        move || {
            let (now, unix, via) = (net.now, net.unix(), net.via());
            let creator = &mut net.nodes[0].tunnels;
            let (gateway, tunnel) = creator.inbound_gateway(now, PoolId::EXPLORATORY).unwrap();
            let delivery = Delivery::Tunnel { gateway, tunnel };
            creator.send(now, unix, via, delivery, data(SMALL, unix)).unwrap();
            net.settle();
        }
    });
}

/// Exactly `n` cells.
fn filled(net: &mut Net, hop: usize, n: usize) -> Vec<Message> {
    let mut cells = net.cells(hop, n);
    while cells.len() < n {
        cells.extend(net.cells(hop, n - cells.len()));
    }
    cells
}
