//! Requests for tunnels that nobody wants.

use super::Adversary;
use super::pace::Pace;
use crate::world::{NodeId, World};
use ramson_core::crypto::noise::{Protocol, SymmetricState};
use ramson_core::crypto::x25519::{PrivateKey, PublicKey};
use ramson_core::rng::Rng;
use ramson_core::time::UnixTime;
use ramson_core::wire::hash::Hash;
use ramson_core::wire::i2np::{Message, MessageType};
use ramson_core::wire::tunnel::{RECORD_HASH_LEN, Request, Role};
use std::time::Duration;

/// Asks all others, one after the other, to be a hop of one tunnel after the other: valid requests, each
/// with one record, whose tunnels stay empty.
pub(super) struct BuildFlood {
    rng: Rng,
    pace: Pace,
    nodes: Vec<NodeId>,
    victims: Vec<NodeId>,
    sent: usize,
}

impl BuildFlood {
    pub(super) const fn new(rng: Rng, rate: u32) -> Self {
        Self { rng, pace: Pace::new(rate), nodes: Vec::new(), victims: Vec::new(), sent: 0 }
    }

    fn send(&mut self, world: &mut World) {
        let turn = self.sent;
        self.sent += 1;
        let node = self.nodes[turn % self.nodes.len()];
        // Each of its routers meets each victim, whatever common divisors their numbers have.
        let round = turn / self.nodes.len();
        let victim = self.victims[(turn + round) % self.victims.len()];
        let next = self.nodes[(turn + 1) % self.nodes.len()];
        let unix = world.unix(node);
        let (Some(to), Some(next)) = (world.router(victim), world.router(next)) else { return };
        let (identity, next) = (to.router_info().identity(), next.hash());
        let (to, Some(key)) = (to.hash(), identity.x25519_key()) else { return };
        let Some(message) = request(&mut self.rng, &to, &key, next, unix) else { return };
        if world.router(node).is_some() {
            world.embedder(node, |router, now| router.send_message(now, to, message));
        }
    }
}

/// A build message for a participant whose next hop is `next`.
fn request(
    rng: &mut Rng,
    to: &Hash,
    key: &PublicKey,
    next: Hash,
    unix: UnixTime,
) -> Option<Message> {
    let request = Request {
        receive_tunnel: rng.nonzero_u32(),
        next_tunnel: rng.nonzero_u32(),
        next,
        role: Role::Participant,
        layer: 0,
        minutes: unix.as_secs() / 60,
        lifetime: 600,
        next_message: rng.nonzero_u32(),
    };
    let mut body = vec![1];
    body.extend_from_slice(to.as_bytes().get(..RECORD_HASH_LEN)?);
    let ephemeral = PrivateKey::generate(rng);
    let mut state = SymmetricState::new(Protocol::Router, key);
    state.mix_hash(&ephemeral.public().0);
    state.mix_key(&ephemeral.diffie_hellman(key).ok()?);
    body.extend_from_slice(&ephemeral.public().0);
    let from = body.len();
    body.extend_from_slice(&request.encode_short());
    state.encrypt_and_hash(&mut body, from);
    let kind = MessageType::SHORT_TUNNEL_BUILD;
    Some(Message { kind, id: rng.u32(), expires: unix + Duration::from_secs(10), body })
}

impl Adversary for BuildFlood {
    fn begin(&mut self, world: &mut World, nodes: &[NodeId]) {
        self.nodes = nodes.to_vec();
        self.victims = world.nodes().filter(|id| !nodes.contains(id)).collect();
    }

    fn act(&mut self, world: &mut World) -> Option<Duration> {
        if self.nodes.len() < 2 || self.victims.is_empty() {
            return None;
        }
        for _ in 0..self.pace.due() {
            self.send(world);
        }
        Some(Pace::TURN)
    }
}
