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
/// A message 1 is sent once more when its time stamp is no longer one of who may come in, whatever the clocks say
/// within the minute by which they may differ.
const LATE: Duration = Duration::from_secs(131);
/// Messages that are kept for each of the two.
const MAX_KEPT: usize = 1024;
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
    /// A message 1 that was sent just before.
    Again,
    /// One that was sent [`LATE`] before, and again since.
    Late,
    /// A good message 1, and nothing after it.
    Half,
}

const KNOCKS: [Knock; 7] = [
    Knock::Garbage,
    Knock::Part,
    Knock::OtherNetwork,
    Knock::OtherKey,
    Knock::Again,
    Knock::Late,
    Knock::Half,
];

/// A message 1 that was answered, so that it was surely read.
struct Answered {
    at: Instant,
    to: NodeId,
    bytes: Vec<u8>,
}

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
    answered: VecDeque<Answered>,
    /// Those that were sent again.
    replayed: VecDeque<Answered>,
    /// Replays that came to an end, soon and late.
    replays: [u64; 2],
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
            replayed: VecDeque::new(),
            replays: [0; 2],
            repelled: Repelled { tried: 0, in_vain: 0 },
        }
    }

    fn knock(&mut self, world: &mut World) -> Option<()> {
        let node = *self.nodes.get(self.sent % self.nodes.len())?;
        self.sent += 1;
        let (now, unix) = (world.now(), world.unix(node));
        let knock = KNOCKS[self.rng.index(KNOCKS.len())];
        let (to, bytes) = match knock {
            Knock::Again => {
                let again = self.answered.pop_front()?;
                let (to, bytes) = (again.to, again.bytes.clone());
                if self.replayed.len() < MAX_KEPT {
                    self.replayed.push_back(again);
                }
                (to, bytes)
            }
            Knock::Late => {
                let late = |old: &mut Answered| now.saturating_since(old.at) >= LATE;
                self.replayed.pop_front_if(late).map(|old| (old.to, old.bytes))?
            }
            _ => {
                let to = self.victims[self.rng.index(self.victims.len())];
                let ours = world.router(node)?.router_info();
                let theirs = world.router(to)?.router_info();
                (to, bytes(knock, &mut self.rng, now, unix, ours, theirs)?)
            }
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
            if raw.opened {
                let in_time = |at: Instant| at.saturating_since(probe.opened) <= LONGEST;
                let reset = raw.ended.is_some_and(|(at, reset)| reset && in_time(at));
                let silent = raw.received == 0 || probe.knock == Knock::Half;
                self.repelled.tried += 1;
                self.repelled.in_vain += u64::from(reset && silent);
                self.replays[0] += u64::from(probe.knock == Knock::Again);
                self.replays[1] += u64::from(probe.knock == Knock::Late);
            }
            world.reset_raw(probe.raw);
            let Probe { opened: at, to, bytes, .. } = probe;
            if probe.knock == Knock::Half && raw.received > 0 && self.answered.len() < MAX_KEPT {
                self.answered.push_back(Answered { at, to, bytes });
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

    fn two(seed: u64) -> (World, NodeId, NodeId) {
        let mut world = World::new(seed);
        let add = |world: &mut World| {
            let config = network::router(world, network::tunnels(1, 1));
            world.add_router(config)
        };
        let (node, to) = (add(&mut world), add(&mut world));
        (world, node, to)
    }

    /// Only who sends a good message 1 for the first time is answered, so that the others are what they are
    /// said to be; and all are reset. Nor is it answered later, when its time stamp is one of a wrong clock.
    #[test]
    fn each_knock_is_what_it_is_called() {
        let (mut world, node, to) = two(1);
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
        let replays = [Knock::Again, Knock::Late];
        for knock in KNOCKS.into_iter().filter(|knock| !replays.contains(knock)) {
            let (now, unix) = (world.now(), world.unix(node));
            let (ours, theirs) = (info(&world, node), info(&world, to));
            let bytes = bytes(knock, &mut rng, now, unix, &ours, &theirs).unwrap();
            let answered = send(&mut world, &bytes) > 0;
            assert_eq!(answered, knock == Knock::Half, "{knock:?}");
            if answered {
                for later in [Duration::ZERO, LATE, Duration::from_secs(3600)] {
                    world.run_for(later);
                    assert_eq!(send(&mut world, &bytes), 0, "the same again, {later:?} later");
                }
            }
        }
    }

    #[test]
    fn it_comes_to_all_its_replays_and_does_not_count_who_is_away() {
        let (mut world, node, to) = two(2);
        let mut prober = Prober::new(Rng::new(&Seed::from_number(2)), 1);
        prober.begin(&mut world, &[node]);
        let run = |prober: &mut Prober, world: &mut World, time: Duration| {
            let until = world.now() + time;
            while world.now() < until {
                let wait = prober.act(world).unwrap();
                world.run_for(wait);
            }
        };
        run(&mut prober, &mut world, Duration::from_secs(400));
        assert!(prober.replays.iter().all(|tried| *tried > 10), "{:?}", prober.replays);
        let before = prober.repelled().unwrap();
        assert_eq!(before.tried, before.in_vain);
        assert!(before.tried > 200, "{before:?}");

        world.crash(to);
        let (raw, opened) = (world.open_raw(node, to), world.now());
        prober.open = vec![Probe { raw, opened, knock: Knock::Garbage, to, bytes: vec![] }];
        world.run_for(LONGEST);
        assert!(world.raw(raw).ended.is_some(), "it is refused");
        prober.look(&mut world);
        assert!(prober.open.is_empty());
        assert_eq!(prober.repelled(), Some(before));
    }
}
