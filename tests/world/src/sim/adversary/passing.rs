//! Hops that do something to what passes through their tunnels.

use super::Adversary;
use crate::world::{NodeId, World, one_of};
use ramson_core::rng::Rng;
use ramson_core::router::conduct::Conduct;
use ramson_core::time::Instant;
use ramson_core::wire::hash::Hash;
use ramson_core::wire::i2np::{Message, MessageType};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What goes through tunnels.
pub(super) fn is_passing(message: &Message) -> bool {
    matches!(message.kind, MessageType::TUNNEL_DATA | MessageType::TUNNEL_GATEWAY)
}

/// Does something to what passes by.
pub(super) struct Passing {
    pub(super) rng: Rng,
    pub(super) chance: f64,
    pub(super) what: fn(Message) -> Option<Message>,
}

struct PassingConduct {
    rng: Rng,
    chance: f64,
    what: fn(Message) -> Option<Message>,
}

impl Adversary for Passing {
    fn begin(&mut self, world: &mut World, nodes: &[NodeId]) {
        for id in nodes {
            let (mut rng, chance, what) = (self.rng.fork("node"), self.chance, self.what);
            let make = move || -> Box<dyn Conduct> {
                Box::new(PassingConduct { rng: rng.fork("start"), chance, what })
            };
            world.set_conduct(*id, Box::new(make));
        }
    }
}

impl Conduct for PassingConduct {
    fn receive(&mut self, _: Instant, _: &Hash, message: Message) -> Option<Message> {
        if is_passing(&message) && one_of(&mut self.rng, self.chance) {
            return (self.what)(message);
        }
        Some(message)
    }
}

/// Keeps it for a while.
pub(super) struct Delay {
    rng: Rng,
    chance: f64,
    delay: Duration,
    kept: Kept,
}

impl Delay {
    pub(super) fn new(rng: Rng, chance: f64, delay: Duration) -> Self {
        Self { rng, chance, delay, kept: Kept::default() }
    }
}

type Kept = Arc<Mutex<VecDeque<(Instant, NodeId, Hash, Message)>>>;

struct DelayConduct {
    rng: Rng,
    chance: f64,
    delay: Duration,
    node: NodeId,
    kept: Kept,
}

impl Adversary for Delay {
    fn begin(&mut self, world: &mut World, nodes: &[NodeId]) {
        for id in nodes {
            let (mut rng, chance, delay) = (self.rng.fork("node"), self.chance, self.delay);
            let (node, kept) = (*id, self.kept.clone());
            let make = move || -> Box<dyn Conduct> {
                let (rng, kept) = (rng.fork("start"), kept.clone());
                Box::new(DelayConduct { rng, chance, delay, node, kept })
            };
            world.set_conduct(*id, Box::new(make));
        }
    }

    fn act(&mut self, world: &mut World) -> Option<Duration> {
        let now = world.now();
        loop {
            let due = {
                let mut kept = self.kept.lock().unwrap();
                if kept.front().is_none_or(|(at, ..)| *at > now) {
                    break;
                }
                kept.pop_front().unwrap()
            };
            let (_, node, from, message) = due;
            if world.router(node).is_some() {
                world.embedder(node, |router, now| router.deliver(now, from, message));
            }
        }
        Some(Duration::from_millis(50))
    }
}

impl Conduct for DelayConduct {
    fn receive(&mut self, now: Instant, from: &Hash, message: Message) -> Option<Message> {
        if is_passing(&message) && one_of(&mut self.rng, self.chance) {
            let mut kept = self.kept.lock().unwrap();
            kept.push_back((now + self.delay, self.node, *from, message));
            return None;
        }
        Some(message)
    }
}
