//! Packets of SSU2 that somebody on the way made up.

use super::{Adversary, Repelled};
use crate::world::{NodeId, TapId, Tapped, World};
use ramson_core::crypto::Key32;
use ramson_core::rng::Rng;
use ramson_core::wire::ssu2::{Header, LongHeader, LongKind, MAX_PACKET_LEN, VERSION, protect};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// So often it looks at what went over the lines. Shorter than most ways, so that what it makes up arrives while a
/// handshake is under way.
const TURN: Duration = Duration::from_millis(20);
/// Datagrams of a turn that it has something to say to; more are let go.
const MAX_SEEN: usize = 4096;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forgery {
    Garbage,
    /// The true one with a wrong bit.
    Flipped,
    /// The true one without its end, or with more.
    Cut,
    /// The head of the true one and the rest of another.
    Spliced,
    /// Garbage for the same id: what masks it is public.
    RightId,
    /// A long header with the ids of the true one where it shows them, and garbage.
    Long,
    /// The true one with a wrong bit, from somewhere else.
    Elsewhere,
}

const FORGERIES: [Forgery; 7] = [
    Forgery::Garbage,
    Forgery::Flipped,
    Forgery::Cut,
    Forgery::Spliced,
    Forgery::RightId,
    Forgery::Long,
    Forgery::Elsewhere,
];

const LONG: [LongKind; 6] = [
    LongKind::SessionRequest,
    LongKind::SessionCreated,
    LongKind::PeerTest,
    LongKind::Retry,
    LongKind::TokenRequest,
    LongKind::HolePunch,
];

/// What all know of a router.
struct Known {
    intro: Key32,
    net_id: u8,
}

/// Sees every datagram of SSU2 and sends so many forged ones after each, as from the same peer. None of them is a true
/// one again, and none is sealed with a key that everybody has.
pub(super) struct Ssu2Forger {
    rng: Rng,
    /// For each true one.
    rate: u32,
    nodes: Vec<NodeId>,
    tap: Option<TapId>,
    known: BTreeMap<IpAddr, Known>,
    /// For the tail of others.
    last: Vec<u8>,
    /// Handshakes that failed and sessions that broke of each honest router, as of now and before.
    lost: BTreeMap<NodeId, u64>,
    forged: u64,
    aborted: u64,
}

impl Ssu2Forger {
    pub(super) const fn new(rng: Rng, rate: u32) -> Self {
        Self {
            rng,
            rate,
            nodes: Vec::new(),
            tap: None,
            known: BTreeMap::new(),
            last: Vec::new(),
            lost: BTreeMap::new(),
            forged: 0,
            aborted: 0,
        }
    }

    fn garbage(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.rng.fill(&mut bytes);
        bytes
    }

    fn flipped(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let at = self.rng.index(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << self.rng.below(8);
        }
        bytes
    }

    /// `None` when it would be the true one.
    fn forge(&mut self, forgery: Forgery, real: &Tapped) -> Option<(SocketAddr, Vec<u8>)> {
        let bytes = real.bytes.clone();
        let from = real.from;
        let len = self.rng.between(40, MAX_PACKET_LEN as u64) as usize;
        let made = match forgery {
            Forgery::Garbage => {
                let len = self.rng.between(1, 1500) as usize;
                self.garbage(len)
            }
            Forgery::Flipped => self.flipped(bytes),
            Forgery::Elsewhere => {
                let port = self.rng.between(1024, 65_535) as u16;
                let ip =
                    if self.rng.below(2) == 0 { from.ip() } else { IpAddr::from([77, 7, 7, 7]) };
                return Some((SocketAddr::new(ip, port), self.flipped(bytes)));
            }
            Forgery::Cut => {
                let mut bytes = bytes;
                if self.rng.below(2) == 0 {
                    bytes.truncate(1 + self.rng.index(bytes.len()));
                } else {
                    let more = self.rng.between(1, 40) as usize;
                    bytes.extend(self.garbage(more));
                }
                bytes
            }
            Forgery::Spliced => {
                let (head, tail) = (16.min(bytes.len()), 16.min(self.last.len()));
                [&bytes[..head], &self.last[tail..]].concat()
            }
            Forgery::RightId => {
                let mut made = self.garbage(len);
                let known = self.known.get(&real.to.ip())?;
                let id = protect::destination(&bytes, &known.intro).ok()?;
                made[..8].copy_from_slice(&id.0.to_be_bytes());
                protect::protect(&mut made, &known.intro, &known.intro).ok()?;
                made
            }
            Forgery::Long => {
                // What answers a handshake is masked with the key of who answers.
                let owner = if self.rng.below(2) == 0 { real.to } else { real.from };
                let garbage = self.garbage(len);
                let (kind, random) = (LONG[self.rng.index(LONG.len())], self.rng.u64());
                let known = self.known.get(&owner.ip())?;
                let destination = protect::destination(&bytes, &known.intro).ok()?;
                let (source, token) = match protect::peek(&bytes, destination, &known.intro) {
                    Ok(Header::Long(seen)) => (seen.source, seen.token),
                    Ok(Header::Short(_)) | Err(_) => (destination, random),
                };
                let (number, net_id) = (random as u32, known.net_id);
                let version = VERSION;
                let header =
                    LongHeader { destination, number, kind, version, net_id, source, token };
                let mut made = Vec::new();
                header.encode(&mut made);
                made.extend(garbage);
                made.truncate(MAX_PACKET_LEN);
                protect::protect(&mut made, &known.intro, &known.intro).ok()?;
                made
            }
        };
        (made != real.bytes).then_some((from, made))
    }

    /// Counts what went wrong since the last time.
    fn look(&mut self, world: &World) {
        for node in world.nodes().filter(|node| !self.nodes.contains(node)) {
            let stats = world.router(node).and_then(|router| router.ssu2_stats());
            let lost = stats.map_or(0, |stats| stats.failed + stats.broken);
            let before = self.lost.insert(node, lost);
            // What was before, or in another life of the router, is not ours.
            self.aborted += lost.saturating_sub(before.unwrap_or(lost));
        }
    }
}

impl Adversary for Ssu2Forger {
    fn begin(&mut self, world: &mut World, nodes: &[NodeId]) {
        self.nodes = nodes.to_vec();
        self.tap = Some(world.tap_udp(|_, _| true));
        for node in world.nodes() {
            let Some(info) = world.router(node).map(|router| router.router_info()) else {
                continue;
            };
            if let (Some(address), Some(net_id)) = (info.ssu2(), info.net_id()) {
                let intro = Key32::new(address.intro_key);
                self.known.insert(world.address_outside(node), Known { intro, net_id });
            }
        }
        self.look(world);
    }

    fn act(&mut self, world: &mut World) -> Option<Duration> {
        let mut seen = world.take_tapped(self.tap?);
        seen.truncate(MAX_SEEN);
        for real in seen {
            for _ in 0..self.rate {
                let forgery = FORGERIES[self.rng.index(FORGERIES.len())];
                let node = self.nodes[self.forged as usize % self.nodes.len()];
                if let Some((from, made)) = self.forge(forgery, &real) {
                    world.forge_udp(node, from, real.to, &made);
                    self.forged += 1;
                }
            }
            self.last = real.bytes;
        }
        self.look(world);
        Some(TURN)
    }

    fn repelled(&self) -> Option<Repelled> {
        let in_vain = self.forged.saturating_sub(self.aborted);
        Some(Repelled { tried: self.forged, in_vain })
    }
}
