//! Hops that send cells again.
//!
//! A cell that the next hop forwarded twice would look the same twice on two links, and tell who
//! watches both that they belong to one tunnel. All honest routers watch for that here.

use super::passing::is_passing;
use super::{Adversary, Repelled};
use crate::world::{NodeId, World, one_of};
use ramson_core::crypto::hash::sha256;
use ramson_core::rng::Rng;
use ramson_core::router::conduct::Conduct;
use ramson_core::time::Instant;
use ramson_core::wire::hash::Hash;
use ramson_core::wire::i2np::{Message, MessageType};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long until a cell is sent the second and the third time.
const AGAIN: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(60)];
/// Cells that are kept for that.
const MAX_KEPT: usize = 100_000;

pub(super) struct Replay {
    rng: Rng,
    chance: f64,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// Its own routers.
    own: BTreeSet<Hash>,
    /// Cells that are to be sent again, one queue for each of [`AGAIN`].
    kept: [VecDeque<(Instant, NodeId, Hash, Message)>; 2],
    /// What is sent now was sent before.
    again: bool,
    replayed: u64,
    seen: BTreeSet<[u8; 32]>,
    /// Messages that an honest router sent twice.
    repeated: u64,
}

impl Shared {
    /// An honest router got this.
    fn watch(&mut self, from: &Hash, message: &Message) {
        if is_passing(message) && !self.own.contains(from) {
            let mut whole = from.as_bytes().to_vec();
            whole.extend_from_slice(&message.body);
            self.repeated += u64::from(!self.seen.insert(sha256(&whole)));
        }
    }

    fn due(&mut self, now: Instant) -> Option<(NodeId, Hash, Message)> {
        let queue = self.kept.iter_mut().find(|q| q.front().is_some_and(|(at, ..)| *at <= now))?;
        queue.pop_front().map(|(_, node, to, message)| (node, to, message))
    }
}

/// Of its own routers.
struct Parrot {
    rng: Rng,
    chance: f64,
    node: NodeId,
    shared: Arc<Mutex<Shared>>,
}

impl Conduct for Parrot {
    fn receive(&mut self, _: Instant, _: &Hash, message: Message) -> Option<Message> {
        Some(message)
    }

    fn send(&mut self, now: Instant, to: &Hash, message: Message) -> Option<Message> {
        let mut shared = self.shared.lock().unwrap();
        let honest = !shared.own.contains(to);
        if message.kind == MessageType::TUNNEL_DATA
            && honest
            && !shared.again
            && one_of(&mut self.rng, self.chance)
        {
            for (queue, after) in shared.kept.iter_mut().zip(AGAIN) {
                if queue.len() < MAX_KEPT {
                    queue.push_back((now + after, self.node, *to, message.clone()));
                }
            }
        }
        Some(message)
    }
}

/// Of all others.
struct Watcher(Arc<Mutex<Shared>>);

impl Conduct for Watcher {
    fn receive(&mut self, _: Instant, from: &Hash, message: Message) -> Option<Message> {
        self.0.lock().unwrap().watch(from, &message);
        Some(message)
    }
}

impl Replay {
    pub(super) fn new(rng: Rng, chance: f64) -> Self {
        Self { rng, chance, shared: Arc::default() }
    }
}

impl Adversary for Replay {
    fn begin(&mut self, world: &mut World, nodes: &[NodeId]) {
        for id in nodes {
            self.shared.lock().unwrap().own.extend(world.router(*id).map(|r| r.hash()));
            let (mut rng, chance, node) = (self.rng.fork("node"), self.chance, *id);
            let shared = self.shared.clone();
            let make = move || -> Box<dyn Conduct> {
                Box::new(Parrot { rng: rng.fork("start"), chance, node, shared: shared.clone() })
            };
            world.set_conduct(*id, Box::new(make));
        }
        for id in world.nodes() {
            if !world.has_conduct(id) {
                let shared = self.shared.clone();
                world.set_conduct(id, Box::new(move || Box::new(Watcher(shared.clone()))));
            }
        }
    }

    fn act(&mut self, world: &mut World) -> Option<Duration> {
        let now = world.now();
        loop {
            let Some((node, to, message)) = self.shared.lock().unwrap().due(now) else { break };
            if world.router(node).is_none() {
                continue;
            }
            self.shared.lock().unwrap().again = true;
            let sent = world.embedder(node, |router, now| router.send_message(now, to, message));
            let mut shared = self.shared.lock().unwrap();
            shared.again = false;
            shared.replayed += u64::from(sent);
        }
        Some(Duration::from_millis(50))
    }

    fn repelled(&self) -> Option<Repelled> {
        let shared = self.shared.lock().unwrap();
        let in_vain = shared.replayed.saturating_sub(shared.repeated);
        Some(Repelled { tried: shared.replayed, in_vain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ramson_core::time::UnixTime;

    #[test]
    fn what_an_honest_router_sends_twice_is_seen() {
        let (honest, own) = (Hash([1; 32]), Hash([2; 32]));
        let mut shared = Shared::default();
        shared.own.insert(own);
        let message = |kind, first| Message {
            kind,
            id: 1,
            expires: UnixTime::from_secs(1),
            body: vec![first; 1028],
        };
        let cell = |first| message(MessageType::TUNNEL_DATA, first);
        for (from, message, repeated) in [
            (honest, cell(1), 0),
            (honest, cell(2), 0),
            (own, cell(1), 0),
            (own, cell(1), 0),
            (honest, message(MessageType::GARLIC, 1), 0),
            (honest, message(MessageType::GARLIC, 1), 0),
            (honest, cell(1), 1),
        ] {
            shared.watch(&from, &message);
            assert_eq!(shared.repeated, repeated);
        }
    }
}
