//! Floodfills next to a key.

use super::Adversary;
use crate::network;
use crate::world::{NodeId, World};
use ramson_core::config::Floodfill;
use ramson_core::keys::RouterKeys;
use ramson_core::netdb::routing_key::RoutingKey;
use ramson_core::rng::Rng;
use ramson_core::router::conduct::Conduct;
use ramson_core::router::output::StoreKey;
use ramson_core::time::Instant;
use ramson_core::wire::hash::Hash;
use ramson_core::wire::i2np::{DatabaseStore, Message, MessageType, StoreEntry};
use std::sync::Arc;
use std::time::Duration;

/// Identities that are drawn for each one that is kept.
const DRAWS: usize = 1000;
/// When all of its floodfills run, they make themselves known.
const FIRST_WORDS: Duration = Duration::from_secs(10);
/// And so often again.
const WORDS: Duration = Duration::from_secs(300);

/// As many floodfills as it has routers, all of them nearer to the key of the first site than
/// anybody else.
pub(super) struct Ring {
    rng: Rng,
    floodfills: Vec<NodeId>,
    began: bool,
}

impl Ring {
    pub(super) const fn new(rng: Rng) -> Self {
        Self { rng, floodfills: Vec::new(), began: false }
    }

    /// The nearest of many that were drawn.
    fn ground(&mut self, target: &RoutingKey, count: usize) -> Vec<RouterKeys> {
        let mut drawn: Vec<_> = (0..count * DRAWS)
            .map(|_| RouterKeys::generate(&mut self.rng))
            .map(|keys| (target.distance(&keys.identity.hash()), keys))
            .collect();
        drawn.sort_by_key(|(distance, _)| *distance);
        drawn.truncate(count);
        drawn.into_iter().map(|(_, keys)| keys).collect()
    }
}

/// The message that tells of a router.
fn introduction(world: &World, rng: &mut Rng, id: NodeId) -> Option<Message> {
    let info = world.router(id)?.router_info().clone();
    Some(super::store(info, rng.u32(), world.unix(id)))
}

impl Adversary for Ring {
    fn begin(&mut self, world: &mut World, nodes: &[NodeId]) {
        let Some(host) = network::hosts(world).next() else { return };
        let key = network::site(world, host).hash();
        let target = RoutingKey::new(&key, world.unix(host));
        let info = |id| world.stored(id, &StoreKey::RouterInfo).map(Arc::from);
        let known: Vec<Arc<[u8]>> = world.nodes().filter_map(info).collect();
        for (n, keys) in self.ground(&target, nodes.len()).iter().enumerate() {
            let mut config = network::router(world, network::tunnels(2, 1));
            config.netdb.floodfill = Floodfill::On;
            let id = world.add_router_as(config, keys, known.clone());
            world.set_conduct(id, Box::new(move || Box::new(Useless { deaf: n % 2 == 0 })));
            self.floodfills.push(id);
        }
    }

    fn act(&mut self, world: &mut World) -> Option<Duration> {
        if !std::mem::replace(&mut self.began, true) {
            return Some(FIRST_WORDS);
        }
        // To everybody, and to each other.
        let all: Vec<NodeId> = world.nodes().filter(|id| world.router(*id).is_some()).collect();
        for id in self.floodfills.clone() {
            for to in all.iter().filter(|to| **to != id) {
                let Some(hash) = world.router(*to).map(|r| r.hash()) else { continue };
                let Some(message) = introduction(world, &mut self.rng, id) else { continue };
                world.embedder(id, |router, now| router.send_message(now, hash, message));
            }
        }
        Some(WORDS)
    }
}

/// A floodfill that keeps no lease set. One that is not deaf answers lookups with the nearest
/// floodfills that it knows: those of its kind.
struct Useless {
    deaf: bool,
}

impl Useless {
    fn takes(&self, message: &Message) -> bool {
        match message.kind {
            MessageType::DATABASE_LOOKUP => !self.deaf,
            MessageType::DATABASE_STORE => {
                let store = DatabaseStore::decode(&message.body);
                store.is_ok_and(|s| matches!(s.entry, StoreEntry::RouterInfo(_)))
            }
            _ => true,
        }
    }
}

impl Conduct for Useless {
    fn receive(&mut self, _: Instant, _: &Hash, message: Message) -> Option<Message> {
        self.takes(&message).then_some(message)
    }

    fn unwrap(&mut self, _: Instant, message: Message) -> Option<Message> {
        self.takes(&message).then_some(message)
    }
}
