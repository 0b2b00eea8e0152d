//! A small network of tunnels with a bad wire between its routers.

use super::input::Input;
use ramson_core::config::Timing;
use ramson_core::crypto::x25519::{PrivateKey, PublicKey};
use ramson_core::rng::{Rng, Seed};
use ramson_core::time::{Instant, UnixTime};
use ramson_core::tunnel::{
    Hop, PoolConfig, PoolId, TransitLimits, TunnelAction, TunnelConfig, Tunnels,
};
use ramson_core::wire::hash::Hash;
use ramson_core::wire::i2np::{Message, MessageType};
use ramson_core::wire::tunnel::Delivery;
use std::sync::Arc;
use std::time::Duration;

const START: UnixTime = UnixTime::from_secs(1_800_000_000);
const ROUTERS: usize = 4;
const POOL: PoolId = PoolId::EXPLORATORY;
/// Stands for garlic around a build message.
const WRAPPED: &[u8] = b"wrap";

struct Net {
    routers: Vec<(Tunnels, PublicKey)>,
    wire: Vec<(usize, usize, Message)>,
    now: Instant,
    /// Somebody else put messages in: what arrives need not be ours.
    forged: bool,
    received: usize,
}

const fn hash(n: usize) -> Hash {
    Hash([n as u8 + 1; 32])
}

fn index(hash: &Hash) -> Option<usize> {
    usize::from(hash.0[0]).checked_sub(1).filter(|n| *n < ROUTERS)
}

/// A message whose content follows from its length.
fn data(len: usize, unix: UnixTime) -> Message {
    let body = (0..len).map(|i| (i * 31 + len) as u8).collect();
    let expires = unix + Duration::from_secs(30);
    Message { kind: MessageType::DATA, id: 7, expires, body }
}

/// Nothing but the session protects what is in it.
fn is_bare(message: &Message) -> bool {
    message.kind == MessageType::TUNNEL_GATEWAY || message.kind == MessageType::DATA
}

impl Net {
    fn new(mode: u8) -> Self {
        let mut rng = Rng::new(&Seed::from_number(mode.into()));
        let routers = (0..ROUTERS).map(|n| {
            let key = Arc::new(PrivateKey::from_bytes([n as u8 + 1; 32]));
            let public = key.public();
            let config = TunnelConfig {
                local: hash(n),
                transit: TransitLimits::default(),
                timing: Timing::default(),
            };
            (Tunnels::new(config, key, rng.fork("tunnels")), public)
        });
        let routers = routers.collect();
        let now = Instant::from_micros(1_000_000);
        let mut net = Self { routers, wire: Vec::new(), now, forged: false, received: 0 };
        let length = mode >> 1 & 3;
        let shape = PoolConfig {
            inbound_length: length,
            outbound_length: length,
            variance: 0,
            inbound_quantity: 1,
            outbound_quantity: 1,
        };
        let unix = net.unix();
        net.routers[0].0.add_pool(now, unix, POOL, shape);
        net.drain();
        if mode & 1 != 0 {
            for _ in 0..200 {
                net.pump();
                net.pass(Duration::from_millis(20));
            }
            let stats = net.routers[0].0.pool_stats(net.now, POOL).unwrap();
            assert!(stats.inbound > 0 && stats.outbound > 0, "{stats:?}");
        }
        net
    }

    fn unix(&self) -> UnixTime {
        START + self.now.saturating_since(Instant::ZERO)
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        let unix = self.unix();
        for (tunnels, _) in &mut self.routers {
            if tunnels.poll_timeout().is_some_and(|at| at <= self.now) {
                tunnels.handle_timeout(self.now, unix);
            }
        }
        self.drain();
    }

    /// Delivers what is on the wire, in order.
    fn pump(&mut self) {
        for _ in 0..500 {
            if self.wire.is_empty() {
                return;
            }
            let (from, to, message) = self.wire.remove(0);
            self.arrive(from, to, message);
        }
    }

    fn arrive(&mut self, from: usize, to: usize, message: Message) {
        let unix = self.unix();
        let tunnels = &mut self.routers[to].0;
        if let Some(back) = tunnels.handle_message(self.now, unix, Some(hash(from)), message) {
            self.receive(to, back);
        }
        self.drain();
    }

    fn receive(&mut self, n: usize, message: Message) {
        if let Some(inner) = message.body.strip_prefix(WRAPPED) {
            let (now, unix) = (self.now, self.unix());
            if let Ok(inner) = Message::decode_short(inner) {
                let _ = self.routers[n].0.handle_message(now, unix, None, inner);
            }
        } else if !self.forged && message.kind == MessageType::DATA {
            let expected = data(message.body.len(), START);
            assert_eq!(message.body, expected.body, "not what was sent");
            self.received += 1;
        }
    }

    fn drain(&mut self) {
        for n in 0..ROUTERS {
            for _ in 0..2000 {
                let Some(action) = self.routers[n].0.poll_action() else { break };
                self.act(n, action);
            }
            assert!(self.routers[n].0.reassembly_bytes() <= 16 << 20);
        }
        self.wire.truncate(2000);
    }

    fn act(&mut self, n: usize, action: TunnelAction) {
        let (now, unix) = (self.now, self.unix());
        match action {
            TunnelAction::NeedPath { build, length, .. } => {
                let hop = |n: usize| Hop { hash: hash(n), key: self.routers[n].1 };
                let hops: Vec<Hop> = (1..ROUTERS).map(hop).take(length).collect();
                self.routers[n].0.handle_path(now, unix, build, &hops);
            }
            TunnelAction::Send { to, message, .. } => {
                assert_ne!(to, hash(n), "to itself");
                // Forged requests name routers that do not exist.
                if let Some(to) = index(&to) {
                    self.wire.push((n, to, message));
                }
            }
            TunnelAction::SendWrapped { to, via, message, .. } => {
                let mut body = WRAPPED.to_vec();
                message.encode_short(&mut body);
                let wrapped = Message { kind: MessageType::GARLIC, body, ..message };
                let _ = self.routers[n].0.send(now, unix, via, Delivery::Router(to), wrapped);
            }
            TunnelAction::Received { message, .. } => self.receive(n, message),
            TunnelAction::Job(job) => {
                let done = if job.is_stale(now) { job.skip() } else { job.run() };
                self.routers[n].0.handle_job(now, unix, done);
            }
            TunnelAction::PoolChanged(_) | TunnelAction::Report { .. } | _ => {}
        }
    }

    fn send(&mut self, len: usize, to: u8) {
        let (now, unix) = (self.now, self.unix());
        let tunnels = &mut self.routers[0].0;
        let Some(via) = tunnels.pick_outbound(now, POOL) else { return };
        let delivery = match to & 3 {
            0 => {
                let Some((gateway, tunnel)) = tunnels.inbound_gateway(now, POOL) else { return };
                Delivery::Tunnel { gateway, tunnel }
            }
            n => Delivery::Router(hash(n.into())),
        };
        tunnels.send(now, unix, via, delivery, data(len, unix)).unwrap();
        self.drain();
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let op = input.u8();
        let at = std::num::NonZero::new(self.wire.len());
        match op & 0x0f {
            0..=2 => {
                let len = usize::from(input.u16()) % 20_000;
                self.send(len, op >> 4);
            }
            3..=5 => self.pump(),
            // One, from any place, possibly again.
            6 | 7 => {
                let n = usize::from(input.u8());
                let Some(len) = at else { return };
                let (from, to, message) = self.wire[n % len].clone();
                if op & 0x10 == 0 {
                    self.wire.remove(n % len);
                }
                self.arrive(from, to, message);
            }
            8 | 9 => {
                let (n, bit) = (usize::from(input.u8()), usize::from(input.u16()));
                let Some(len) = at else { return };
                let message = &mut self.wire[n % len].2;
                if message.body.is_empty() {
                    return;
                }
                self.forged |= is_bare(message);
                let bit = bit % (message.body.len() * 8);
                message.body[bit / 8] ^= 1 << (bit % 8);
            }
            10 => {
                let n = usize::from(input.u8());
                let Some(len) = at else { return };
                let message = &mut self.wire[n % len].2;
                message.body.truncate(usize::from(input.u16()));
                self.forged |= is_bare(message);
            }
            11 | 12 => {
                // From nowhere: kind, length and content of the input's choice.
                self.forged = true;
                let kinds = [18, 19, 21, 22, 23, 24, 25, 26];
                let kind = MessageType(kinds[usize::from(op >> 5)]);
                let (from, to) = (usize::from(input.u8() & 3), usize::from(op >> 4 & 1));
                let (id, len) = (input.u32(), usize::from(input.u16()) % 4300);
                let mut body = input.bytes(len).to_vec();
                if op & 0x0f == 12 {
                    body.resize(len, 0x5a);
                }
                let expires = self.unix() + Duration::from_secs(10);
                self.arrive(from, to, Message { kind, id, expires, body });
            }
            13 => self.wire.clear(),
            _ => self.pass(Duration::from_millis(u64::from(input.u16()) * 2)),
        }
    }
}

/// The first byte: whether the tunnels are built first, and their length. Then operations: the
/// creator sends, messages arrive in any order, twice, damaged, cut or never, strangers send
/// anything, time passes. What comes out of a tunnel was put in.
pub fn tunnel_ops(data: &[u8]) {
    let mut input = Input::new(data);
    let mut net = Net::new(input.u8());
    for _ in 0..100 {
        if input.is_empty() {
            break;
        }
        net.step(&mut input);
    }
    net.pass(Duration::from_secs(3600));
    assert_eq!(net.routers[0].0.reassembly_bytes(), 0, "fragments are never given up");
}
