//! Requests over SSU2 from addresses that are somebody else's, or nobody's.

use super::pace::Pace;
use super::{Adversary, Repelled};
use crate::network;
use crate::world::{NodeId, TapId, World};
use ramson_core::crypto::x25519::PrivateKey;
use ramson_core::rng::Rng;
use ramson_core::transport::ssu2::initiator::Start;
use ramson_core::transport::ssu2::{Ids, Local, Remote};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

/// The invented addresses begin with a number from here to there; nodes have lower ones.
const FIRST: [u64; 2] = [130, 190];
/// Requests of each kind that are made each turn, and then sent from one address after the other: to the victim, who
/// keeps none, each is new.
const MODELS: usize = 4;
/// What it may send to the invented addresses, in percent of what comes from there.
const MOST: u64 = 150;

/// Sends TokenRequests, and SessionRequests with tokens that nobody gave, to the first site, as fast as it should. All
/// else about them is right.
pub(super) struct Ssu2Flood {
    rng: Rng,
    pace: Pace,
    nodes: Vec<NodeId>,
    victim: Option<NodeId>,
    /// What goes to addresses that were invented.
    tap: Option<TapId>,
    sent: usize,
    brought: u64,
    drawn: u64,
    repelled: Repelled,
}

impl Ssu2Flood {
    pub(super) const fn new(rng: Rng, rate: u32) -> Self {
        Self {
            rng,
            pace: Pace::new(rate),
            nodes: Vec::new(),
            victim: None,
            tap: None,
            sent: 0,
            brought: 0,
            drawn: 0,
            repelled: Repelled { tried: 0, in_vain: 0 },
        }
    }

    /// An address that nobody has.
    fn nowhere(&mut self) -> SocketAddr {
        let [least, most] = FIRST;
        let [_, b, c, d] = self.rng.u32().to_be_bytes();
        let ip = Ipv4Addr::new(self.rng.between(least, most) as u8, b, c, d);
        SocketAddr::from((ip, self.rng.between(1024, 65_535) as u16))
    }

    /// Some requests, and where they go.
    fn requests(&mut self, world: &World, victim: NodeId) -> Option<(SocketAddr, Vec<Vec<u8>>)> {
        let node = *self.nodes.first()?;
        let (now, unix) = (world.now(), world.unix(node));
        let theirs = world.router(victim)?.router_info();
        let ours = world.router(node)?.router_info();
        let (address, net_id) = (theirs.ssu2()?, theirs.net_id()?);
        let (at, rng) = (address.host?, &mut self.rng);
        let local = Local::new(ours.hash(), PrivateKey::generate(rng), rng.bytes(), net_id);
        let local = Arc::new(local);
        let (hash, static_key) = (theirs.hash(), address.static_key);
        let remote = Remote { hash, static_key, intro: address.intro_key, at, mtu: address.mtu };
        let mut requests = Vec::new();
        for _ in 0..MODELS {
            let ids = [Ids::draw(rng), Ids::draw(rng)];
            let [asking, requesting] =
                ids.map(|ids| Start::new(local.clone(), remote, ours, ids, false));
            let asked = asking.ok()?.ask_token(now, unix, rng).ok()?;
            requests.push(asked.packet().to_vec());
            let token = NonZeroU64::new(rng.u64())?;
            let requested = requesting.ok()?.request(token, now, unix, rng).ok()?;
            requests.push(requested.packet().to_vec());
        }
        Some((at, requests))
    }

    /// Whether the victim has no more of anything than honest routers leave it with.
    fn holds_nothing(world: &World, victim: NodeId) -> bool {
        let Some(router) = world.router(victim) else { return true };
        // Each may be about to greet it, and have greeted it a few times.
        let routers = world.nodes().count();
        let mut well = true;
        router.audit(&mut |bound| {
            well &= match bound.name {
                "ssu2: handshakes of others" => bound.len <= routers,
                "ssu2: tokens used" => bound.len <= 4 * routers,
                _ => true,
            };
        });
        well
    }
}

impl Adversary for Ssu2Flood {
    fn begin(&mut self, world: &mut World, nodes: &[NodeId]) {
        self.nodes = nodes.to_vec();
        self.victim = network::hosts(world).next();
        let [least, most] = FIRST;
        self.tap = Some(world.tap_udp(move |_, to| match to {
            SocketAddr::V4(to) => (least..=most).contains(&to.ip().octets()[0].into()),
            SocketAddr::V6(_) => false,
        }));
    }

    fn act(&mut self, world: &mut World) -> Option<Duration> {
        let (victim, tap) = (self.victim?, self.tap?);
        self.drawn += world.take_tapped(tap).iter().map(|t| t.bytes.len() as u64).sum::<u64>();
        if self.brought > 0 {
            let well =
                self.drawn * 100 <= self.brought * MOST && Self::holds_nothing(world, victim);
            self.repelled.tried += 1;
            self.repelled.in_vain += u64::from(well);
        }
        let due = self.pace.due();
        if let Some((to, requests)) = self.requests(world, victim) {
            for _ in 0..due {
                let node = self.nodes[self.sent % self.nodes.len()];
                let request = &requests[self.sent % requests.len()];
                self.sent += 1;
                self.brought += request.len() as u64;
                let from = self.nowhere();
                world.forge_udp(node, from, to, request);
            }
        }
        Some(Pace::TURN)
    }

    fn repelled(&self) -> Option<Repelled> {
        Some(self.repelled)
    }
}
