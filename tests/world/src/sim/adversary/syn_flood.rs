//! Streams that nobody wants.

use super::Adversary;
use super::pace::Pace;
use crate::network;
use crate::world::{NodeId, World};
use ramson_core::client::Target;
use ramson_core::router::embed::{DestinationId, NewDestination, Ports, StreamHandle};
use std::collections::VecDeque;
use std::time::Duration;

/// Destinations that each of its routers has.
const DESTINATIONS: usize = 4;
/// How long a stream is held: a SYN leaves, and its answer comes to nobody.
const HELD: usize = 20;

/// Opens streams to the first site from many destinations, and forgets them.
pub(super) struct SynFlood {
    pace: Pace,
    destinations: Vec<(NodeId, DestinationId)>,
    target: Option<Target>,
    opened: usize,
    /// By turn, those that are open.
    open: VecDeque<Vec<(NodeId, StreamHandle)>>,
}

impl SynFlood {
    pub(super) const fn new(rate: u32) -> Self {
        Self {
            pace: Pace::new(rate),
            destinations: Vec::new(),
            target: None,
            opened: 0,
            open: VecDeque::new(),
        }
    }

    fn open(&mut self, world: &mut World, target: &Target) -> Option<(NodeId, StreamHandle)> {
        let (node, from) = self.destinations[self.opened % self.destinations.len()];
        self.opened += 1;
        world.router(node)?;
        let ports = Ports::to(80);
        let stream = world.embedder(node, |router, now| router.connect(now, from, target, ports));
        Some((node, stream))
    }
}

impl Adversary for SynFlood {
    fn begin(&mut self, world: &mut World, nodes: &[NodeId]) {
        let host = network::hosts(world).next();
        self.target = host.map(|host| Target::Destination(network::site(world, host)));
        for node in nodes.iter().filter(|_| self.target.is_some()) {
            for _ in 0..DESTINATIONS {
                let mut new = NewDestination::new("flood");
                (new.tunnels, new.publish) = (network::tunnels(1, 2), false);
                let opened = world.embedder(*node, |router, now| router.open_destination(now, new));
                self.destinations.extend(opened.ok().map(|id| (*node, id)));
            }
        }
    }

    fn act(&mut self, world: &mut World) -> Option<Duration> {
        let target = self.target.clone().filter(|_| !self.destinations.is_empty())?;
        let due = self.pace.due();
        let opened = (0..due).filter_map(|_| self.open(world, &target)).collect();
        self.open.push_back(opened);
        if self.open.len() > HELD {
            for (node, stream) in self.open.pop_front().into_iter().flatten() {
                if world.router(node).is_some() {
                    world.embedder(node, |router, now| router.reset(now, stream));
                }
            }
        }
        for (node, _) in &self.destinations {
            while world.take_told(*node).is_some() {}
        }
        Some(Pace::TURN)
    }
}
