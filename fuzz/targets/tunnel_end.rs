//! The ends of tunnels, with gateways that put anything into the cells.

use super::input::Input;
use super::tunnel_model::{Layer, Model, TIMEOUT};
use ramson_core::config::Timing;
use ramson_core::crypto::kdf::hkdf2;
use ramson_core::crypto::noise::{Protocol, SymmetricState};
use ramson_core::crypto::x25519::{PrivateKey, PublicKey};
use ramson_core::crypto::{Key32, aead, chacha20};
use ramson_core::rng::{Rng, Seed};
use ramson_core::time::{Instant, UnixTime};
use ramson_core::tunnel::{
    Hop, PoolConfig, PoolId, TransitLimits, TunnelAction, TunnelConfig, Tunnels,
};
use ramson_core::wire::hash::Hash;
use ramson_core::wire::i2np::{Message, MessageType, TunnelGateway};
use ramson_core::wire::tunnel::{
    ACCEPT, CELL_LEN, Delivery, Fragments, ID_LEN, IV_LEN, Instructions, LONG_RECORD_LEN,
    LongRequest, MAX_PAYLOAD_LEN, RECORD_HASH_LEN, Request, Role, SHORT_RECORD_LEN,
    SHORT_REPLY_LEN, counted_records, gateway_body, open_payload, payload_checksum, write_reply,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const START: UnixTime = UnixTime::from_secs(1_800_000_000);
const POOL: PoolId = PoolId::EXPLORATORY;
const LOCAL: Hash = Hash([1; 32]);
/// The gateway of the router's inbound tunnel, which this target plays.
const GATEWAY: Hash = Hash([2; 32]);
const GATEWAY_KEY: [u8; 32] = [2; 32];
/// All tunnels live longer.
const LONGEST: Duration = Duration::from_secs(400);
/// Cells that are remembered, to be played again.
const REMEMBERED: usize = 64;

/// Kinds that our own tunnels do not hand on: garlic of tests, cells, messages for gateways, builds.
const INSIDE: [u8; 7] = [11, 18, 19, 21, 23, 25, 26];

/// What comes out: to whom, of which kind, and the body. Of our own tunnel, to nobody.
type Out = (Hash, u8, Vec<u8>);

/// One that ends at the router.
struct Tunnel {
    id: u32,
    layer: Layer,
    /// Ours, and not somebody else's.
    own: bool,
    model: Model,
}

struct World {
    tunnels: Tunnels,
    ends: Vec<Tunnel>,
    now: Instant,
    rng: Rng,
    /// What the replay filters remember of cells.
    seen: BTreeSet<(u32, [u8; IV_LEN])>,
    cells: Vec<(usize, Vec<u8>)>,
    /// Fragments that were not sent yet.
    waiting: Vec<(usize, Instructions, Vec<u8>)>,
    /// Messages that were cut up, and how often they came out.
    put: BTreeMap<Vec<u8>, usize>,
    /// Fragments went into more than one cell.
    doubled: bool,
    /// Fragments were made up, or numbers used twice.
    forged: bool,
    expected: Vec<Out>,
    came: Vec<Out>,
    /// Build messages are no longer to come.
    built: bool,
}

impl World {
    /// A router that has an inbound tunnel of its own and is the endpoint of two others.
    fn new() -> Self {
        let mut rng = Rng::new(&Seed::from_number(7));
        let key = Arc::new(PrivateKey::from_bytes([1; 32]));
        let public = key.public();
        let config = TunnelConfig {
            local: LOCAL,
            transit: TransitLimits::default(),
            timing: Timing::default(),
        };
        let mut world = Self {
            tunnels: Tunnels::new(config, key, rng.fork("tunnels")),
            ends: Vec::new(),
            now: Instant::from_micros(1_000_000),
            rng,
            seen: BTreeSet::new(),
            cells: Vec::new(),
            waiting: Vec::new(),
            put: BTreeMap::new(),
            doubled: false,
            forged: false,
            expected: Vec::new(),
            came: Vec::new(),
            built: false,
        };
        let shape = PoolConfig {
            inbound_length: 1,
            outbound_length: 0,
            variance: 0,
            inbound_quantity: 1,
            outbound_quantity: 1,
        };
        world.tunnels.add_pool(world.now, world.unix(), POOL, shape);
        world.drain();
        assert_eq!(world.ends.len(), 1, "the inbound tunnel is there");
        for id in [11, 12] {
            world.join(&public, id);
        }
        world.built = true;
        assert_eq!(world.tunnels.transit_stats().tunnels, 2);
        world
    }

    fn unix(&self) -> UnixTime {
        START + self.now.saturating_since(Instant::ZERO)
    }

    fn add_end(&mut self, id: u32, layer: Layer, own: bool) {
        let (max_messages, max_bytes) = if own { (256, 1 << 20) } else { (64, 256 << 10) };
        self.ends.push(Tunnel { id, layer, own, model: Model::new(max_messages, max_bytes) });
    }

    /// Asks the router to be an endpoint. In a long record the creator chooses the keys.
    fn join(&mut self, to: &PublicKey, id: u32) {
        let keys = [id as u8; 32];
        let layer = Layer::new(&Key32::new(keys), &Key32::new([99; 32]));
        let request = Request {
            receive_tunnel: id,
            next_tunnel: 1,
            next: Hash([5; 32]),
            role: Role::Endpoint,
            layer: 0,
            minutes: self.unix().as_secs() / 60,
            lifetime: 600,
            next_message: 1,
        };
        let long = LongRequest {
            request,
            layer_key: Key32::new(keys),
            iv_key: Key32::new([99; 32]),
            reply_key: Key32::new([3; 32]),
            reply_iv: [4; 16],
        };
        let ephemeral = PrivateKey::generate(&mut self.rng);
        let mut state = SymmetricState::new(Protocol::Router, to);
        state.mix_hash(&ephemeral.public().0);
        state.mix_key(&ephemeral.diffie_hellman(to).map_err(|_| ()).unwrap());
        let mut body = vec![1];
        body.extend(&LOCAL.0[..RECORD_HASH_LEN]);
        body.extend(ephemeral.public().0);
        let from = body.len();
        body.extend(long.encode());
        state.encrypt_and_hash(&mut body, from);
        assert_eq!(body.len(), 1 + LONG_RECORD_LEN);
        let (now, unix, expires) = (self.now, self.unix(), self.unix() + TIMEOUT);
        let message = Message { kind: MessageType::VARIABLE_TUNNEL_BUILD, id: 1, expires, body };
        let _ = self.tunnels.handle_message(now, unix, Some(Hash([9; 32])), message);
        self.drain();
        self.add_end(id, layer, false);
    }

    /// The gateway accepts to be one, and learns the keys.
    fn accept(&mut self, message: Message) {
        let mut body = message.body;
        let records = counted_records::<SHORT_RECORD_LEN>(&mut body).unwrap();
        let key = PrivateKey::from_bytes(GATEWAY_KEY);
        let mine = |r: &[u8; SHORT_RECORD_LEN]| r.starts_with(&GATEWAY.0[..RECORD_HASH_LEN]);
        let slot = records.iter().position(mine).unwrap();
        let (head, sealed) = records[slot].split_at_mut(RECORD_HASH_LEN + 32);
        let ephemeral = PublicKey(*head.last_chunk().unwrap());
        let mut state = SymmetricState::new(Protocol::Router, &key.public());
        state.mix_hash(&ephemeral.0);
        state.mix_key(&key.diffie_hellman(&ephemeral).map_err(|_| ()).unwrap());
        let text = state.decrypt_and_hash(sealed).map_err(|_| ()).unwrap();
        let request = Request::decode_short(text).unwrap();
        assert_eq!((request.role, request.next), (Role::Gateway, LOCAL));
        let (ck, reply) = hkdf2(state.chaining_key(), b"", b"SMTunnelReplyKey");
        let (iv, layer) = hkdf2(ck.as_bytes(), b"", b"SMTunnelLayerKey");
        for (n, record) in records.iter_mut().enumerate() {
            if n == slot {
                let (text, tag) = record.split_first_chunk_mut::<SHORT_REPLY_LEN>().unwrap();
                write_reply(text, ACCEPT);
                tag.copy_from_slice(&aead::seal(&reply, n as u64, state.handshake_hash(), text));
            } else {
                chacha20::apply(&reply, &aead::nonce(n as u64), record);
            }
        }
        let (now, unix, id) = (self.now, self.unix(), request.next_message);
        let answer = Message { id, body, ..message };
        assert!(self.tunnels.handle_message(now, unix, Some(GATEWAY), answer).is_none());
        self.add_end(request.next_tunnel, Layer::new(&layer, &iv), true);
    }

    fn drain(&mut self) {
        for round in 0.. {
            assert!(round < 5000, "the actions never end");
            let Some(action) = self.tunnels.poll_action() else { break };
            let (now, unix) = (self.now, self.unix());
            match action {
                TunnelAction::NeedPath { build, .. } if self.ends.is_empty() => {
                    let key = PrivateKey::from_bytes(GATEWAY_KEY).public();
                    let hops = [Hop { hash: GATEWAY, key }];
                    self.tunnels.handle_path(now, unix, build, &hops);
                }
                TunnelAction::Send { to, message, .. } if to == GATEWAY => self.gateway(message),
                TunnelAction::Send { to, message, .. } => {
                    self.came.push((to, message.kind.0, message.body));
                }
                // Tests of the tunnel end inside, but for what was forged.
                TunnelAction::Received { message, .. } if message.kind == MessageType::GARLIC => {}
                TunnelAction::Received { pool, message } => {
                    assert_eq!(pool, Some(POOL));
                    self.came.push((Hash::ZERO, message.kind.0, message.body));
                }
                TunnelAction::Job(job) => self.tunnels.handle_job(now, unix, job.run()),
                TunnelAction::NeedPath { .. }
                | TunnelAction::PoolChanged(_)
                | TunnelAction::Report { .. }
                | _ => {}
            }
        }
        self.compare();
    }

    /// What the router sends to its gateway: a request, later tests that are to come back.
    fn gateway(&mut self, message: Message) {
        if message.kind == MessageType::SHORT_TUNNEL_BUILD && self.ends.is_empty() {
            self.accept(message);
        } else if let Ok(TunnelGateway { data, .. }) = TunnelGateway::decode(&message.body) {
            let whole = Instructions::First { delivery: Delivery::Local, fragmented: None };
            let mut payload = Vec::new();
            whole.encode(data.len() as u16, &mut payload);
            payload.extend(data);
            let cell = self.seal(0, &payload);
            self.carry(0, &cell);
        }
    }

    /// What came is what the model says, and what was cut up.
    fn compare(&mut self) {
        self.expected.sort_unstable();
        self.came.sort_unstable();
        if self.built {
            assert_eq!(self.came, self.expected);
        }
        self.came.clear();
        self.expected.clear();
        let held = self.tunnels.reassembly_bytes();
        let sum = |of: &dyn Fn(&Model) -> usize| self.ends.iter().map(|e| of(&e.model)).sum();
        let (least, most): (usize, usize) = (sum(&|m| m.live(self.now)), sum(&Model::held));
        assert!((least..=most).contains(&held), "{least} <= {held} <= {most}");
        assert!(self.ends.iter().all(|e| e.model.is_within_caps()));
    }

    /// A cell as it arrives at the router.
    fn seal(&mut self, end: usize, payload: &[u8]) -> Vec<u8> {
        let iv: [u8; IV_LEN] = self.rng.bytes();
        let mut cell = self.ends[end].id.to_be_bytes().to_vec();
        cell.extend(iv);
        cell.extend(payload_checksum(payload, &iv));
        cell.resize(CELL_LEN - payload.len() - 1, 0x5a);
        cell.push(0);
        cell.extend(payload);
        let end = &self.ends[end];
        end.layer.apply(&mut cell, end.own);
        cell
    }

    /// Hands a cell to the router, and to the model.
    fn carry(&mut self, end: usize, cell: &[u8]) {
        let (now, unix) = (self.now, self.unix());
        let (first, second) = (&cell[ID_LEN..], &cell[ID_LEN + IV_LEN..]);
        let mixed = std::array::from_fn(|i| first[i] ^ second[i]);
        let Tunnel { id, layer, own, model } = &mut self.ends[end];
        if self.seen.insert((*id, mixed)) {
            let mut clear = cell.to_vec();
            layer.apply(&mut clear, !*own);
            for fragment in open_payload(&clear).into_iter().flat_map(Fragments::new) {
                let Ok((what, data)) = fragment else { break };
                let Some((delivery, bytes)) = model.add(now, what, data) else { continue };
                let Ok(message) = Message::decode_full(&bytes) else { continue };
                let late = unix > message.expires + Duration::from_secs(60);
                let early = message.expires > unix + Duration::from_secs(180);
                let out = match delivery {
                    Delivery::Local if *own && !INSIDE.contains(&message.kind.0) => {
                        (Hash::ZERO, message.kind.0, message.body)
                    }
                    Delivery::Router(to) if !*own && !late && !early => {
                        (to, message.kind.0, message.body)
                    }
                    Delivery::Tunnel { gateway, tunnel } if !*own && !late && !early => {
                        let body = gateway_body(tunnel, &bytes).unwrap();
                        (gateway, MessageType::TUNNEL_GATEWAY.0, body)
                    }
                    Delivery::Local | Delivery::Router(_) | Delivery::Tunnel { .. } => continue,
                };
                if !self.forged {
                    let times = self.put.get_mut(&bytes).unwrap();
                    *times += 1;
                    assert!(*times == 1 || self.doubled, "came out twice");
                }
                self.expected.push(out);
            }
        }
        let message = Message {
            kind: MessageType::TUNNEL_DATA,
            id: 5,
            expires: unix + TIMEOUT,
            body: cell.to_vec(),
        };
        assert!(self.tunnels.handle_message(now, unix, Some(GATEWAY), message).is_none());
    }

    /// Cuts a message into fragments that wait to be sent.
    fn cut(&mut self, op: u8, input: &mut Input<'_>) {
        let (len, size, name) = (input.u16() % 60_000, input.u8(), input.u8());
        let end = usize::from(op >> 4 & 3) % self.ends.len();
        let to = Hash([0x20 | name & 3; 32]);
        let delivery = match (self.ends[end].own, op & 0x40) {
            (true, _) => Delivery::Local,
            (false, 0) => Delivery::Router(to),
            (false, _) => Delivery::Tunnel { gateway: to, tunnel: 77 },
        };
        let serial = self.put.len() as u32;
        let body = (0..len).map(|i| i as u8 ^ serial as u8).collect();
        let (kind, expires) = (MessageType::DATA, self.unix() + Duration::from_secs(30));
        let message = Message { kind, id: serial, expires, body };
        let mut bytes = Vec::new();
        message.encode_full(&mut bytes).unwrap();
        // An honest gateway uses each number once.
        let id = if op & 0x80 == 0 { 1_000 + serial } else { u32::from(name) };
        self.forged |= op & 0x80 != 0;
        let size = (1 + usize::from(size) * 4).max(bytes.len().div_ceil(64)).min(940);
        let pieces = bytes.len().div_ceil(size);
        if pieces > 64 {
            return;
        }
        for (number, piece) in bytes.chunks(size).enumerate() {
            let what = match number {
                0 => Instructions::First { delivery, fragmented: (pieces > 1).then_some(id) },
                _ => Instructions::FollowOn {
                    message: id,
                    number: number as u8,
                    last: number + 1 == pieces,
                },
            };
            self.waiting.push((end, what, piece.to_vec()));
        }
        self.put.insert(bytes, 0);
        self.waiting.truncate(1000);
    }

    /// Sends a cell with up to `most` waiting fragments of one tunnel, from `at` on.
    fn send(&mut self, at: usize, most: usize, keep: bool) {
        let Some(len) = std::num::NonZero::new(self.waiting.len()) else { return };
        let mut at = at % len;
        let end = self.waiting[at].0;
        let mut payload = Vec::new();
        for _ in 0..most {
            let Some((to, what, data)) = self.waiting.get(at) else { break };
            if *to != end || payload.len() + what.encoded_len() + data.len() > MAX_PAYLOAD_LEN {
                break;
            }
            what.encode(data.len() as u16, &mut payload);
            payload.extend(data);
            if keep {
                at += 1;
            } else {
                self.waiting.remove(at);
            }
        }
        self.doubled |= keep;
        self.send_payload(end, &payload);
    }

    fn send_payload(&mut self, end: usize, payload: &[u8]) {
        let cell = self.seal(end, payload);
        self.carry(end, &cell);
        self.remember(end, cell);
    }

    fn remember(&mut self, end: usize, cell: Vec<u8>) {
        if self.cells.len() >= REMEMBERED {
            self.cells.remove(0);
        }
        self.cells.push((end, cell));
    }

    fn pass(&mut self, time: Duration) {
        self.drain();
        self.now = self.now + time;
        let unix = self.unix();
        for round in 0.. {
            if self.tunnels.poll_timeout().is_none_or(|at| at > self.now) {
                break;
            }
            assert!(round < 10, "due for ever");
            self.tunnels.handle_timeout(self.now, unix);
            self.drain();
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let op = input.u8();
        let remembered = std::num::NonZero::new(self.cells.len());
        match op & 0x0f {
            0..=2 => self.cut(op, input),
            // In order, or from anywhere.
            3 | 4 => (0..=op >> 4).for_each(|_| self.send(0, 64, false)),
            5 | 6 => self.send(input.u8().into(), usize::from(op >> 4) + 1, false),
            7 => self.send(input.u8().into(), usize::from(op >> 4) + 1, true),
            8 => {
                let n = usize::from(input.u8());
                let Some(len) = remembered else { return };
                let (end, cell) = self.cells[n % len].clone();
                self.carry(end, &cell);
            }
            9 => {
                let (n, bit) = (usize::from(input.u8()), usize::from(input.u16()));
                let Some(len) = remembered else { return };
                let (end, mut cell) = self.cells[n % len].clone();
                let bit = bit % ((CELL_LEN - ID_LEN) * 8);
                cell[ID_LEN + bit / 8] ^= 1 << (bit % 8);
                // What is damaged in the padding alone may still say the same.
                self.doubled = true;
                self.carry(end, &cell);
                self.remember(end, cell);
            }
            10 | 11 => {
                self.forged = true;
                let end = usize::from(op >> 4 & 3) % self.ends.len();
                let (id, number, len, fill) = (input.u8(), input.u8(), input.u16(), input.u8());
                let data = vec![fill; usize::from(len) % 950];
                let what = match number & 0x3f {
                    0 if number & 0x80 == 0 => {
                        let delivery = Delivery::Router(Hash([0x30; 32]));
                        let delivery = if op & 0x40 == 0 { delivery } else { Delivery::Local };
                        Instructions::First { delivery, fragmented: Some(id.into()) }
                    }
                    n => Instructions::FollowOn {
                        message: id.into(),
                        number: n.max(1),
                        last: number & 0x40 != 0,
                    },
                };
                let mut payload = Vec::new();
                // Many at once: each of a message of its own.
                let times = if op & 0x80 == 0 { 1 } else { MAX_PAYLOAD_LEN / (45 + data.len()) };
                for n in 0..times as u32 {
                    let what = match what {
                        Instructions::FollowOn { message, number, last } => {
                            Instructions::FollowOn { message: message + n, number, last }
                        }
                        first @ Instructions::First { .. } => first,
                    };
                    what.encode(data.len() as u16, &mut payload);
                    payload.extend(&data);
                }
                self.send_payload(end, &payload);
            }
            12 => {
                let at = usize::from(input.u8()).min(self.waiting.len());
                self.waiting.drain(at..(at + usize::from(op >> 4)).min(self.waiting.len()));
            }
            // Cells that came together are handled together.
            13 => self.drain(),
            _ => {
                let time = Duration::from_millis(input.u16().into());
                if self.now + time < Instant::ZERO + LONGEST {
                    self.pass(time);
                }
            }
        }
    }
}

/// Operations on a router with one inbound tunnel of its own and two tunnels of others that end
/// there: messages are cut into fragments, which arrive in any order, together or apart, late,
/// twice, damaged, mixed with made-up ones, or never. What comes out is what a plain model says;
/// where nobody forged anything it was put in, and without doubled fragments it comes once.
pub fn tunnel_endpoint_ops(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    for _ in 0..200 {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    // A while of silence, and nothing is held, though the tunnels are still there.
    world.pass(Duration::from_secs(1));
    for _ in 0..4 {
        world.pass(TIMEOUT);
    }
    assert_eq!(world.tunnels.reassembly_bytes(), 0, "fragments are never given up");
    assert_eq!(world.tunnels.transit_stats().tunnels, 2);
}
