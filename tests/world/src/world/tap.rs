//! Lines that somebody watches, and datagrams that say they come from somebody else.

use super::udp::Place;
use super::{NodeId, World};
use std::net::SocketAddr;

/// Somebody who watches datagrams, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TapId(usize);

/// A datagram as it went into the network, with the addresses that others see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tapped {
    /// Whence it says it comes.
    pub from: SocketAddr,
    /// Where it goes.
    pub to: SocketAddr,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// Which datagrams are of interest: whence, and where to.
type Wanted = Box<dyn Fn(SocketAddr, SocketAddr) -> bool>;

pub(super) struct Tap {
    wanted: Wanted,
    seen: Vec<Tapped>,
}

impl World {
    /// Watches all lines for datagrams that are `wanted` by their sender and receiver, whatever becomes of them. Those
    /// of [`Self::forge_udp`] are not seen. Who does not take them has all of them.
    pub fn tap_udp(&mut self, wanted: impl Fn(SocketAddr, SocketAddr) -> bool + 'static) -> TapId {
        let id = TapId(self.taps.len());
        self.taps.push(Tap { wanted: Box::new(wanted), seen: Vec::new() });
        id
    }

    /// What was seen since the last time.
    pub fn take_tapped(&mut self, id: TapId) -> Vec<Tapped> {
        std::mem::take(&mut self.taps[id.0].seen)
    }

    /// Sends a datagram from the machine of a node, or from the box in front of it, and says that it comes `from`
    /// somewhere else.
    pub fn forge_udp(&mut self, node: NodeId, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let flutter = self.chance.flutter();
        self.datagrams.sent += 1;
        if !self.nodes[node.0].link {
            self.datagrams.cut_off += 1;
            return;
        }
        let here = self.nodes[node.0].nat.map_or(Place::Node(node), Place::Nat);
        self.carry_datagram(node, here, (from, to), flutter, bytes.to_vec());
    }

    /// Shows a datagram to whoever watches.
    pub(super) fn tap(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        for tap in &mut self.taps {
            if (tap.wanted)(from, to) {
                tap.seen.push(Tapped { from, to, bytes: bytes.to_vec() });
            }
        }
    }
}
