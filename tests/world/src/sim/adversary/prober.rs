//! Connections that are to find out whether somebody is a router.
//!
//! Who cannot prove that he knows a router's keys gets no byte from it, and a reset, whatever was wrong
//! with what he sent. Who can is answered once, and has as little time.

use super::pace::Pace;
use super::{Adversary, Repelled};
use crate::world::{NodeId, RawId, World};
use ramson_core::crypto::x25519::PrivateKey;
use ramson_core::rng::Rng;
use ramson_core::time::{Instant, UnixTime};
use ramson_core::transport::ntcp2::{Local, Remote, Session};
use ramson_core::wire::router_info::RouterInfo;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A handshake may last ten seconds; the rest is the way.
const LONGEST: Duration = Duration::from_secs(11);
/// A message 1 is sent again this much later at most. It is remembered for 130 seconds.
const AGAIN: Duration = Duration::from_secs(100);
/// Messages that are kept for that.
const MAX_KEPT: usize = 256;
/// Bytes of message 1 before its padding; we always send some.
const HEAD_LEN: usize = 64;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knock {
    Garbage,
    /// A part of a good message 1.
    Part,
    /// A message 1 for another network.
    OtherNetwork,
    /// A message 1 for a router with another key.
    OtherKey,
    /// A message 1 that was sent before.
    Again,
    /// A good message 1, and nothing after it.
    Half,
}

const KNOCKS: [Knock; 6] =
    [Knock::Garbage, Knock::Part, Knock::OtherNetwork, Knock::OtherKey, Knock::Again, Knock::Half];

struct Probe {
    raw: RawId,
    opened: Instant,
    knock: Knock,
    to: NodeId,
    bytes: Vec<u8>,
}

pub(super) struct Prober {
    rng: Rng,
    pace: Pace,
    nodes: Vec<NodeId>,
    victims: Vec<NodeId>,
    sent: usize,
    open: Vec<Probe>,
    /// Those with a message 1 that was answered, so that it was surely read.
    answered: VecDeque<Probe>,
    repelled: Repelled,
}

impl Prober {
    pub(super) const fn new(rng: Rng, rate: u32) -> Self {
        Self {
            rng,
            pace: Pace::new(rate),
            nodes: Vec::new(),
            victims: Vec::new(),
            sent: 0,
            open: Vec::new(),
            answered: VecDeque::new(),
            repelled: Repelled { tried: 0, in_vain: 0 },
        }
    }

    fn knock(&mut self, world: &mut World) -> Option<()> {
        let node = *self.nodes.get(self.sent % self.nodes.len())?;
        self.sent += 1;
        let (now, unix) = (world.now(), world.unix(node));
        let knock = KNOCKS[self.rng.index(KNOCKS.len())];
        let (to, bytes) = if knock == Knock::Again {
            let old = |probe: &Probe| now.saturating_since(probe.opened) > AGAIN;
            while self.answered.front().is_some_and(old) {
                self.answered.pop_front();
            }
            self.answered.pop_front().map(|probe| (probe.to, probe.bytes))?
        } else {
            let to = self.victims[self.rng.index(self.victims.len())];
            let ours = world.router(node)?.router_info();
            let theirs = world.router(to)?.router_info();
            (to, bytes(knock, &mut self.rng, now, unix, ours, theirs)?)
        };
        world.router(to)?;
        let raw = world.open_raw(node, to);
        world.send_raw(raw, &bytes);
        self.open.push(Probe { raw, opened: now, knock, to, bytes });
        Some(())
    }

    /// Looks at what came of those that are over, or should be.
    fn look(&mut self, world: &mut World) {
        let now = world.now();
        let over = |probe: &Probe| {
            let late = now.saturating_since(probe.opened) > LONGEST;
            late || world.raw(probe.raw).ended.is_some()
        };
        let over: Vec<Probe> = self.open.extract_if(.., |probe| over(probe)).collect();
        for probe in over {
            let raw = world.raw(probe.raw).clone();
            // Where nobody was, nobody could answer.
            if raw.ended.is_some() || world.is_raw_open(probe.raw) {
                let in_time = |at: Instant| at.saturating_since(probe.opened) <= LONGEST;
                let reset = raw.ended.is_some_and(|(at, reset)| reset && in_time(at));
                let silent = raw.received == 0 || probe.knock == Knock::Half;
                self.repelled.tried += 1;
                self.repelled.in_vain += u64::from(reset && silent);
            }
            world.reset_raw(probe.raw);
            if probe.knock == Knock::Half && raw.received > 0 && self.answered.len() < MAX_KEPT {
                self.answered.push_back(probe);
            }
        }
    }
}

/// What is sent to the router that `theirs` is of.
fn bytes(
    knock: Knock,
    rng: &mut Rng,
    now: Instant,
    unix: UnixTime,
    ours: &RouterInfo,
    theirs: &RouterInfo,
) -> Option<Vec<u8>> {
    if knock == Knock::Garbage {
        return Some((0..rng.between(1, 1500)).map(|_| rng.u32() as u8).collect());
    }
    let address = theirs.ntcp2()?;
    let net_id = theirs.net_id()?;
    let other = PrivateKey::generate(rng);
    let static_key = if knock == Knock::OtherKey { other.public() } else { address.static_key };
    let remote = Remote { hash: theirs.hash(), static_key, iv: address.iv? };
    let net_id = if knock == Knock::OtherNetwork { net_id.wrapping_add(1) } else { net_id };
    let local = Arc::new(Local::new(ours.hash(), PrivateKey::generate(rng), rng.bytes(), net_id));
    let mut session = Session::connect(now, local, ours.clone(), remote, rng.fork("session"));
    let mut message = Vec::new();
    session.poll_write(now, unix, usize::MAX, &mut message);
    if knock == Knock::Part {
        message.truncate(rng.between(1, HEAD_LEN as u64) as usize);
    }
    Some(message)
}

impl Adversary for Prober {
    fn begin(&mut self, world: &mut World, nodes: &[NodeId]) {
        self.nodes = nodes.to_vec();
        let reached = |id: &NodeId| {
            let address = world.router(*id).and_then(|router| router.router_info().ntcp2());
            address.is_some_and(|address| address.host.is_some()) && !nodes.contains(id)
        };
        self.victims = world.nodes().filter(reached).collect();
    }

    fn act(&mut self, world: &mut World) -> Option<Duration> {
        if self.nodes.is_empty() || self.victims.is_empty() {
            return None;
        }
        self.look(world);
        for _ in 0..self.pace.due() {
            // Without anything to send again, or with one of the two down, there is one less.
            let _ = self.knock(world);
        }
        Some(Pace::TURN)
    }

    fn repelled(&self) -> Option<Repelled> {
        Some(self.repelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network;
    use ramson_core::rng::Seed;

    /// Only who sends a good message 1 for the first time is answered, so that the others are what they are
    /// said to be; and all are reset.
    #[test]
    fn each_knock_is_what_it_is_called() {
        let mut world = World::new(1);
        let add = |world: &mut World| {
            let config = network::router(world, network::tunnels(1, 1));
            world.add_router(config)
        };
        let (node, to) = (add(&mut world), add(&mut world));
        let mut rng = Rng::new(&Seed::from_number(1));
        let send = |world: &mut World, bytes: &[u8]| {
            let raw = world.open_raw(node, to);
            world.send_raw(raw, bytes);
            world.run_for(LONGEST);
            let came = world.raw(raw).clone();
            assert!(came.ended.is_some_and(|(_, reset)| reset), "{came:?}");
            came.received
        };
        let info = |world: &World, id| world.router(id).unwrap().router_info().clone();
        for knock in KNOCKS.into_iter().filter(|knock| *knock != Knock::Again) {
            let (now, unix) = (world.now(), world.unix(node));
            let (ours, theirs) = (info(&world, node), info(&world, to));
            let bytes = bytes(knock, &mut rng, now, unix, &ours, &theirs).unwrap();
            let answered = send(&mut world, &bytes) > 0;
            assert_eq!(answered, knock == Knock::Half, "{knock:?}");
            if answered {
                assert_eq!(send(&mut world, &bytes), 0, "the same again");
            }
        }
    }
}
