//! Routers that do not keep to the rules. Each kind is a plug-in: an [`Adversary`] that is told which
//! nodes are its own, and is then called again as often as it likes. What it does to messages is a
//! [`Conduct`](ramson_core::router::conduct::Conduct) of those routers; what it begins itself it does through the [`World`].

mod build_flood;
mod flood;
mod floodfill;
mod liar_clock;
mod pace;
mod passing;
mod prober;
mod replay;
mod ssu2_flood;
mod ssu2_forger;
mod sybil;
mod syn_flood;

use super::scenario;
use crate::world::{NodeId, World};
use ramson_core::rng::{Rng, Seed};
use ramson_core::time::UnixTime;
use ramson_core::wire::i2np::{DatabaseStore, Message, MessageType, StoreEntry};
use ramson_core::wire::router_info::RouterInfo;
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

    /// What came of what it tried, if it can tell.
    fn repelled(&self) -> Option<Repelled> {
        None
    }
}

/// What came of what an attacker tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repelled {
    /// How often it tried.
    pub tried: u64,
    /// How often that came to nothing.
    pub in_vain: u64,
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
    (
        "build-flood",
        "asks all others to be hops of tunnels that nobody wants, `rate` requests a second",
    ),
    (
        "replay",
        "sends each cell to the next hop again, at once and a minute later, `chance` of them; \
         knows what comes of it",
    ),
    (
        "sybil-ring",
        "each of its routers runs a floodfill besides, next to the first site's key; half of them \
         are deaf, half keep nothing and name each other",
    ),
    (
        "syn-flood",
        "opens streams to the first site and leaves them after two seconds, `rate` a second",
    ),
    (
        "prober",
        "opens `rate` connections a second to the others, with garbage, replays, messages for others \
         and handshakes that stall; knows whether it learned anything",
    ),
    (
        "ssu2-flood",
        "sends the first site's router TokenRequests and SessionRequests from invented addresses, `rate` a \
         second; knows what comes back",
    ),
    (
        "ssu2-forger",
        "sees every datagram of SSU2 and sends `rate` forged ones after it, as from the same peer; knows \
         what breaks",
    ),
    ("liar-clock", "has clocks that are wrong by up to `delay`, forward and back"),
    ("deaf-floodfill", "takes part in tunnels, but answers no lookup and confirms no store"),
];

/// The one that `plan` names.
pub fn by_name(plan: &scenario::Adversary, seed: &Seed) -> Result<Box<dyn Adversary>, String> {
    let rng = Rng::new(seed);
    let chance = plan.chance;
    Ok(match plan.kind.as_str() {
        "drop" => Box::new(passing::Passing { rng, chance, what: |_| None }),
        "corrupt" => Box::new(passing::Passing {
            rng,
            chance,
            what: |mut message| {
                let middle = message.body.len() / 2;
                *message.body.get_mut(middle)? ^= 1;
                Some(message)
            },
        }),
        "delay" => Box::new(passing::Delay::new(rng, chance, plan.delay.0)),
        "sybil-flood" => Box::new(flood::SybilFlood::new(rng, rate(plan)?)),
        "build-flood" => Box::new(build_flood::BuildFlood::new(rng, rate(plan)?)),
        "replay" => Box::new(replay::Replay::new(rng, chance)),
        "sybil-ring" => Box::new(sybil::Ring::new(rng)),
        "syn-flood" => Box::new(syn_flood::SynFlood::new(rate(plan)?)),
        "prober" => Box::new(prober::Prober::new(rng, rate(plan)?)),
        "ssu2-flood" => Box::new(ssu2_flood::Ssu2Flood::new(rng, rate(plan)?)),
        "ssu2-forger" => Box::new(ssu2_forger::Ssu2Forger::new(rng, rate(plan)?)),
        "liar-clock" if plan.delay.0.is_zero() => {
            return Err("adversary liar-clock: it needs a delay".to_owned());
        }
        "liar-clock" => Box::new(liar_clock::LiarClock::new(plan.delay.0)),
        "deaf-floodfill" => Box::new(floodfill::Deaf),
        other => {
            let known: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
            return Err(format!("no adversary {other:?}; there are {}", known.join(", ")));
        }
    })
}

/// The message that stores a RouterInfo.
fn store(info: RouterInfo, id: u32, unix: UnixTime) -> Message {
    let mut body = Vec::new();
    DatabaseStore { reply: None, entry: StoreEntry::RouterInfo(info) }.encode(&mut body);
    let expires = unix + Duration::from_secs(10);
    Message { kind: MessageType::DATABASE_STORE, id, expires, body }
}

fn rate(plan: &scenario::Adversary) -> Result<u32, String> {
    match plan.rate {
        0 => Err(format!("adversary {}: it needs a rate", plan.kind)),
        rate => Ok(rate),
    }
}
