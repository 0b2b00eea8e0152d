//! Routers that do not keep to the rules. Each kind is a plug-in: an [`Adversary`] that is told which
//! nodes are its own, and is then called again as often as it likes. What it does to messages is a
//! [`Conduct`] of those routers; what it begins itself it does through the [`World`].

use super::scenario;
use crate::world::{NodeId, World, one_of};
use ramson_core::keys::RouterKeys;
use ramson_core::rng::{Rng, Seed};
use ramson_core::router::conduct::Conduct;
use ramson_core::time::{Instant, UnixTime};
use ramson_core::wire::hash::Hash;
use ramson_core::wire::i2np::{DatabaseStore, Message, MessageType, StoreEntry};
use ramson_core::wire::router_info::RouterInfo;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One kind of attacker, with all the routers it has.
pub trait Adversary {
    /// These are its routers, from now on.
    fn begin(&mut self, world: &mut World, nodes: &[NodeId]);

    /// Called after the time that it said itself, the first time at once. `None`: not again.
    fn act(&mut self, world: &mut World) -> Option<Duration> {
        let _ = world;
        None
    }
}

/// Adversaries that are not in [`KINDS`], by the name that a scenario has for them.
pub type PlugIns<'a> = &'a mut [(&'a str, fn(&scenario::Adversary, &Seed) -> Box<dyn Adversary>)];

/// The kinds that scenarios can name, each with a line for people.
pub const KINDS: &[(&str, &str)] = &[
    ("drop", "drops what passes through its tunnels, `chance` of it"),
    ("corrupt", "flips a bit of what passes through its tunnels, `chance` of it"),
    ("delay", "keeps what passes through its tunnels for `delay`, `chance` of it"),
    (
        "sybil-flood",
        "stores RouterInfos of routers that do not exist at one floodfill, `rate` a second",
    ),
    ("deaf-floodfill", "takes part in tunnels, but answers no lookup and confirms no store"),
];

/// The one that `plan` names.
pub fn by_name(plan: &scenario::Adversary, seed: &Seed) -> Result<Box<dyn Adversary>, String> {
    let rng = Rng::new(seed);
    let chance = plan.chance;
    Ok(match plan.kind.as_str() {
        "drop" => Box::new(Passing { rng, chance, what: |_| None }),
        "corrupt" => Box::new(Passing {
            rng,
            chance,
            what: |mut message| {
                let middle = message.body.len() / 2;
                *message.body.get_mut(middle)? ^= 1;
                Some(message)
            },
        }),
        "delay" => Box::new(Delay { rng, chance, delay: plan.delay.0, kept: Arc::default() }),
        "sybil-flood" if plan.rate == 0 => {
            return Err("adversary sybil-flood: it needs a rate".to_owned());
        }
        "sybil-flood" => {
            Box::new(SybilFlood { rng, rate: plan.rate, nodes: Vec::new(), sent: 0, rest: 0 })
        }
        "deaf-floodfill" => Box::new(Deaf),
        other => {
            let known: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
            return Err(format!("no adversary {other:?}; there are {}", known.join(", ")));
        }
    })
}

/// What goes through tunnels.
fn is_passing(message: &Message) -> bool {
    matches!(message.kind, MessageType::TUNNEL_DATA | MessageType::TUNNEL_GATEWAY)
}

/// Does something to what passes by.
struct Passing {
    rng: Rng,
    chance: f64,
    what: fn(Message) -> Option<Message>,
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
struct Delay {
    rng: Rng,
    chance: f64,
    delay: Duration,
    kept: Kept,
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

/// Floods a floodfill with routers that do not exist. Each is as valid as can be: an identity and keys of
/// its own, a signature of now, an address where anybody might be.
struct SybilFlood {
    rng: Rng,
    rate: u32,
    nodes: Vec<NodeId>,
    sent: usize,
    /// Tenths of one that were not sent.
    rest: u32,
}

impl SybilFlood {
    const TURN: Duration = Duration::from_millis(100);

    /// The store of one, made after the RouterInfo of a real one.
    fn store(&mut self, model: &RouterInfo, unix: UnixTime) -> Message {
        let keys = RouterKeys::generate(&mut self.rng);
        let mut addresses = model.addresses().to_vec();
        for address in &mut addresses {
            let mut octet = |from, to| self.rng.between(from, to);
            let host = format!("{}.{}.{}.1", octet(20, 99), octet(0, 255), octet(0, 255));
            // As long as it is one of four numbers, there is room for it.
            let _ = address.options.insert("host", &host);
        }
        let options = model.options();
        let info = RouterInfo::build(&keys.identity, unix, &addresses, options, &keys.signing);
        let store = DatabaseStore { reply: None, entry: StoreEntry::RouterInfo(info) };
        let mut body = Vec::new();
        store.encode(&mut body);
        let id = self.rng.below(u64::from(u32::MAX)) as u32;
        let expires = unix + Duration::from_secs(10);
        Message { kind: MessageType::DATABASE_STORE, id, expires, body }
    }
}

impl Adversary for SybilFlood {
    fn begin(&mut self, _: &mut World, nodes: &[NodeId]) {
        self.nodes = nodes.to_vec();
    }

    fn act(&mut self, world: &mut World) -> Option<Duration> {
        // The first floodfill there is.
        let floodfill = world.nodes().find(|id| world.floodfill(*id).is_some());
        let Some(to) = floodfill.and_then(|id| Some(world.router(id)?.hash())) else {
            return Some(Self::TURN);
        };
        let owed = self.rate + self.rest;
        self.rest = owed % 10;
        for _ in 0..owed / 10 {
            let node = self.nodes[self.sent % self.nodes.len()];
            self.sent += 1;
            let unix = world.unix(node);
            let Some(model) = world.router(node).map(|r| r.router_info().clone()) else { continue };
            let message = self.store(&model, unix);
            world.embedder(node, |router, now| router.send_message(now, to, message));
        }
        Some(Self::TURN)
    }
}

/// A floodfill that is none.
struct Deaf;

impl Adversary for Deaf {
    fn begin(&mut self, world: &mut World, nodes: &[NodeId]) {
        for id in nodes {
            world.set_conduct(*id, Box::new(|| Box::new(Self)));
        }
    }
}

impl Conduct for Deaf {
    fn receive(&mut self, _: Instant, _: &Hash, message: Message) -> Option<Message> {
        let netdb =
            matches!(message.kind, MessageType::DATABASE_LOOKUP | MessageType::DATABASE_STORE);
        // What a tunnel or a garlic message brings is inside, and cannot be told from the outside.
        (!netdb && message.kind != MessageType::GARLIC).then_some(message)
    }
}
