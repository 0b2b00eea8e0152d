//! Datagrams between the nodes, the boxes in front of them, and sockets of no router.

use super::link::{self, Arrival, Link, Lost};
use super::nat::{Nat, NatKind};
use super::weather::Weather;
use super::{Happening, NodeId, World};
use ramson_core::router::input::{Datagram, SocketId};
use ramson_core::router::output::Transmit;
use ramson_core::time::Instant;
use sha2::Digest;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// As a runtime with segmentation offload: datagrams that a router may send at once.
const MAX_SEGMENTS: usize = 32;
/// What the kernel keeps for a process that does not read, in bytes.
const RECEIVE_BUFFER: usize = 212_992;
/// The sockets of a router.
const SOCKET_V4: SocketId = SocketId(0);
const SOCKET_V6: SocketId = SocketId(1);

/// A box of the world, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NatId(pub(super) usize);

/// A box, the node it was put in front of first, and how often it moved.
pub(super) struct NatBox {
    nat: Nat,
    home: NodeId,
    moves: u8,
}

/// What has an address that others can send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Node(NodeId),
    Nat(NatId),
}

/// A socket of no router: who binds one says what goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UdpId(usize);

/// What such a socket got.
#[derive(Clone, Debug)]
pub struct Udp {
    local: (NodeId, u16),
    /// When, from whom, and what.
    pub received: Vec<(Instant, SocketAddr, Vec<u8>)>,
}

/// What became of the datagrams of a world. One that is duplicated arrives twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Datagrams {
    /// Handed to the network.
    pub sent: u64,
    /// Handed to a socket.
    pub arrived: u64,
    /// Lost on the way.
    pub lost: u64,
    /// Found to be damaged.
    pub damaged: u64,
    /// Larger than what the way carries.
    pub too_large: u64,
    /// Dropped from a queue that was full, of a line or of a process that stood still.
    pub overflowed: u64,
    /// Met a partition, or a link that was down.
    pub cut_off: u64,
    /// Not let through by a box or a firewall.
    pub filtered: u64,
    /// For an address where nobody listens.
    pub unheard: u64,
}

/// A datagram on its way.
pub(super) struct Packet {
    sender: NodeId,
    source: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// One that a kernel has for a router.
pub(super) struct Received {
    pub(super) node: NodeId,
    socket: SocketId,
    source: SocketAddr,
    bytes: Vec<u8>,
    segment: Option<usize>,
}

impl World {
    /// The IPv6 address that the next node will have.
    #[must_use]
    pub fn next_address_v6(&self) -> IpAddr {
        let (n, host) = (self.nodes.len() / self.neighbours, self.nodes.len() % self.neighbours);
        IpAddr::V6(Ipv6Addr::new(0x2a10, n as u16, 0, 0, 0, 0, 0, (host + 1) as u16))
    }

    /// The IPv6 address of a node. Boxes leave it alone.
    #[must_use]
    pub fn address_v6(&self, id: NodeId) -> IpAddr {
        self.nodes[id.0].address_v6
    }

    /// Puts a box of its own in front of a node: it has the node's address from now on, and the node has one
    /// that nobody else sees. Over TCP nobody comes in.
    pub fn add_nat(&mut self, node: NodeId, kind: NatKind) -> NatId {
        let id = NatId(self.nats.len());
        let address = self.address(node);
        let nat = Nat::new(kind, address, self.chance.nats.fork("nat"));
        self.nats.push(NatBox { nat, home: node, moves: 0 });
        self.nodes[node.0].nat = Some(id);
        self.places.insert(address, Place::Nat(id));
        id
    }

    /// Puts a node behind a box that there is. Nobody has its address any more.
    pub fn share_nat(&mut self, node: NodeId, nat: NatId) {
        self.places.remove(&self.address(node));
        self.nodes[node.0].nat = Some(nat);
    }

    /// The box in front of a node.
    #[must_use]
    pub fn nat_of(&self, node: NodeId) -> Option<NatId> {
        self.nodes[node.0].nat
    }

    /// The address that others see of a node.
    #[must_use]
    pub fn address_outside(&self, node: NodeId) -> IpAddr {
        let nat = self.nat_of(node).and_then(|nat| self.nats[nat.0].nat.address());
        nat.unwrap_or(self.address(node))
    }

    /// A box forgets its mappings, and gets a new address if it moves. Connections over TCP through it are
    /// dead.
    pub fn rebind_nat(&mut self, id: NatId, moves: bool) {
        let NatBox { nat, home, moves: count } = &mut self.nats[id.0];
        let mut address = None;
        if moves && let IpAddr::V4(first) = self.nodes[home.0].address.ip() {
            *count = *count % 127 + 1;
            // Of the same /16; no node has it.
            let [a, b, high, low] = first.octets();
            address = Some(IpAddr::V4(Ipv4Addr::new(a, b, high ^ (127 + *count), low)));
        }
        let old = nat.address();
        nat.rebind(address);
        if let (Some(old), Some(new)) = (old, address) {
            self.places.remove(&old);
            self.places.insert(new, Place::Nat(id));
        }
        for node in self.nodes().filter(|node| self.nat_of(*node) == Some(id)).collect::<Vec<_>>() {
            self.reset_outgoing(node);
        }
    }

    /// Binds a socket of the machine of a node that is not its router's.
    ///
    /// # Panics
    /// When the port is taken.
    pub fn bind_udp(&mut self, node: NodeId, port: u16) -> UdpId {
        let id = UdpId(self.udps.len());
        let free = self.nodes[node.0].udp_port() != Some(port);
        assert!(free && self.nodes[node.0].udps.insert(port, id).is_none(), "port {port} is taken");
        self.udps.push(Udp { local: (node, port), received: Vec::new() });
        id
    }

    /// Sends a datagram from such a socket.
    pub fn send_udp(&mut self, id: UdpId, to: SocketAddr, bytes: &[u8]) {
        let (node, port) = self.udps[id.0].local;
        let flutter = self.chance.flutter();
        self.send_datagram(node, port, to, flutter, bytes.to_vec());
    }

    /// Such a socket.
    #[must_use]
    pub fn udp(&self, id: UdpId) -> &Udp {
        &self.udps[id.0]
    }

    /// What became of all datagrams so far.
    #[must_use]
    pub const fn datagrams(&self) -> Datagrams {
        self.datagrams
    }

    /// Sends the next datagrams that a router has for one remote, if it has any.
    pub(super) fn transmit_datagrams(&mut self, id: NodeId) -> bool {
        let now = self.now;
        let mut bytes = std::mem::take(&mut self.outgoing);
        bytes.clear();
        let sent = self.nodes[id.0].poll_transmit(now, MAX_SEGMENTS, &mut bytes);
        if let Some(transmit) = &sent {
            self.transmit_train(id, transmit, &bytes);
        } else {
            assert!(bytes.is_empty(), "poll_transmit appends what it speaks of");
        }
        self.outgoing = bytes;
        sent.is_some()
    }

    /// # Panics
    /// When the router does not keep to what [`Transmit`] promises.
    pub(super) fn transmit_train(&mut self, id: NodeId, transmit: &Transmit, bytes: &[u8]) {
        let to = transmit.remote;
        assert!(transmit.len == bytes.len() && !bytes.is_empty(), "{transmit:?}: {}", bytes.len());
        let wanted = if to.is_ipv4() { SOCKET_V4 } else { SOCKET_V6 };
        assert_eq!(transmit.socket, wanted, "{transmit:?}");
        let port = self.nodes[id.0].udp_port().expect("it has no socket and sends");
        let segment = transmit.segment.unwrap_or(bytes.len());
        assert!(segment > 0 && bytes.len().div_ceil(segment) <= MAX_SEGMENTS, "{transmit:?}");
        // They leave as one.
        let flutter = self.chance.flutter();
        for datagram in bytes.chunks(segment) {
            self.send_datagram(id, port, to, flutter, datagram.to_vec());
        }
    }

    fn send_datagram(
        &mut self,
        id: NodeId,
        port: u16,
        to: SocketAddr,
        flutter: Duration,
        bytes: Vec<u8>,
    ) {
        self.datagrams.sent += 1;
        let own = self.local_ip(id, to.is_ipv6());
        let Some((here, source)) = self.go_out(id, SocketAddr::new(own, port), to) else {
            self.datagrams.filtered += 1;
            return;
        };
        if !self.nodes[id.0].link {
            self.datagrams.cut_off += 1;
            return;
        }
        self.tap(source, to, &bytes);
        self.carry_datagram(id, here, (source, to), flutter, bytes);
    }

    /// A datagram of a node goes into the network `here`.
    pub(super) fn carry_datagram(
        &mut self,
        id: NodeId,
        here: Place,
        (source, to): (SocketAddr, SocketAddr),
        flutter: Duration,
        mut bytes: Vec<u8>,
    ) {
        let now = self.now;
        let Some(there) = self.places.get(&to.ip()).copied() else {
            self.datagrams.unheard += 1;
            return;
        };
        if here == there && matches!(here, Place::Nat(nat) if !self.nats[nat.0].nat.kind().hairpin)
        {
            self.datagrams.filtered += 1;
            return;
        }
        let far = match there {
            Place::Node(node) => node,
            Place::Nat(nat) => self.nats[nat.0].home,
        };
        let weather = self.weather.and(self.nodes[id.0].weather);
        let weather = weather.and(Weather { rate: None, ..self.nodes[far.0].weather });
        let (headers, free) = (link::headers(to), &mut self.nodes[id.0].uplink_free);
        let Some(left) = link::queue(free, now, weather.rate, bytes.len() + headers) else {
            self.datagrams.overflowed += 1;
            return;
        };
        self.lay_link(here, there);
        let link = self.links.get_mut(&(here, there)).unwrap();
        let rng = &mut self.chance.datagrams;
        match link.carry(rng, &weather, (left, flutter), headers, &mut bytes) {
            Ok(Arrival { at, again }) => {
                if let Some(again) = again {
                    let copy = Packet { sender: id, source, to, bytes: bytes.clone() };
                    self.push(again, Happening::Packet(Box::new(copy)));
                }
                let packet = Packet { sender: id, source, to, bytes };
                self.push(at, Happening::Packet(Box::new(packet)));
            }
            Err(Lost::Loss) => self.datagrams.lost += 1,
            Err(Lost::Damage) => self.datagrams.damaged += 1,
            Err(Lost::TooLarge) => self.datagrams.too_large += 1,
        }
    }

    /// A datagram comes to the place that its address belongs to now.
    pub(super) fn handle_packet(&mut self, packet: Packet) {
        self.trace_packet(&packet);
        let Packet { sender, source, to, mut bytes } = packet;
        let Some(place) = self.places.get(&to.ip()).copied() else {
            self.datagrams.unheard += 1;
            return;
        };
        let Some((node, port)) = self.come_in(place, source, to) else {
            self.datagrams.filtered += 1;
            return;
        };
        if !self.passes(sender, node) {
            self.datagrams.cut_off += 1;
            return;
        }
        let n = &self.nodes[node.0];
        if !n.dark
            && let Some(UdpId(udp)) = n.udps.get(&port)
        {
            self.datagrams.arrived += 1;
            self.udps[*udp].received.push((self.now, source, bytes));
            return;
        }
        if n.dark || n.router.is_none() || n.udp_port() != Some(port) {
            self.datagrams.unheard += 1;
            return;
        }
        let socket = if to.is_ipv4() { SOCKET_V4 } else { SOCKET_V6 };
        if let Some(frozen) = &mut self.nodes[node.0].frozen {
            if frozen.datagrams + bytes.len() > RECEIVE_BUFFER {
                self.datagrams.overflowed += 1;
                return;
            }
            frozen.datagrams += bytes.len();
            let received = Received { node, socket, source, bytes, segment: None };
            frozen.kept.push_back(Happening::Received(Box::new(received)));
            return;
        }
        let segment = self.join_train(sender, source, to, &mut bytes);
        self.handle_received(Received { node, socket, source, bytes, segment });
    }

    /// A kernel hands datagrams that came together to the router in one piece, as long as all are equally
    /// long; the last may be shorter.
    fn join_train(
        &mut self,
        sender: NodeId,
        source: SocketAddr,
        to: SocketAddr,
        bytes: &mut Vec<u8>,
    ) -> Option<usize> {
        let size = bytes.len();
        let mut segments = 1;
        while segments < MAX_SEGMENTS && bytes.len() == segments * size {
            let fits = |packet: &Packet| {
                (packet.sender, packet.source, packet.to) == (sender, source, to)
                    && (1..=size).contains(&packet.bytes.len())
            };
            let next = self.heap.peek().filter(|next| next.at == self.now);
            if !next.is_some_and(|n| matches!(&n.what, Happening::Packet(packet) if fits(packet))) {
                break;
            }
            let Some(Happening::Packet(packet)) = self.heap.pop().map(|next| next.what) else {
                break;
            };
            self.events += 1;
            self.trace_packet(&packet);
            bytes.extend(packet.bytes);
            segments += 1;
        }
        (segments > 1).then_some(size)
    }

    /// What a kernel has for a router reaches it.
    pub(super) fn handle_received(&mut self, received: Received) {
        let Received { node, socket, source: remote, mut bytes, segment } = received;
        let count = segment.map_or(1, |segment| bytes.len().div_ceil(segment)) as u64;
        self.enter(node);
        let Some(router) = &mut self.nodes[node.0].router else {
            self.datagrams.unheard += count;
            return;
        };
        self.datagrams.arrived += count;
        let payload = &mut bytes[..];
        router.handle_datagram(self.now, Datagram { socket, remote, payload, segment });
        self.drain(node);
    }

    /// Where a node's datagram leaves from, and whom others take for its sender.
    fn go_out(
        &mut self,
        id: NodeId,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Option<(Place, SocketAddr)> {
        let node = &mut self.nodes[id.0];
        let from = match &mut node.firewall {
            Some(firewall) => firewall.outbound(self.now, from, to)?,
            None => from,
        };
        match node.nat.filter(|_| from.is_ipv4()) {
            Some(nat) => {
                let source = self.nats[nat.0].nat.outbound(self.now, from, to)?;
                Some((Place::Nat(nat), source))
            }
            None => Some((Place::Node(id), from)),
        }
    }

    /// The node and the port that a datagram is for, if it is let in.
    fn come_in(&self, place: Place, source: SocketAddr, to: SocketAddr) -> Option<(NodeId, u16)> {
        let (node, to) = match place {
            Place::Node(node) => (node, to),
            Place::Nat(nat) => {
                let inside = self.nats[nat.0].nat.inbound(self.now, source, to)?;
                (node_of_private(inside.ip())?, inside)
            }
        };
        let to = match &self.nodes[node.0].firewall {
            Some(firewall) => firewall.inbound(self.now, source, to)?,
            None => to,
        };
        Some((node, to.port()))
    }

    /// The address that a machine believes to have.
    fn local_ip(&self, id: NodeId, v6: bool) -> IpAddr {
        let node = &self.nodes[id.0];
        match (v6, node.nat) {
            (true, _) => node.address_v6,
            (false, Some(_)) => private_of(id),
            (false, None) => node.address.ip(),
        }
    }

    /// Makes the way from one place to another, unless there is one; it is as far back.
    fn lay_link(&mut self, from: Place, to: Place) {
        if !self.links.contains_key(&(from, to)) {
            let back = self.links.get(&(to, from)).map(Link::distance);
            let distance = back.unwrap_or_else(|| self.chance.distance());
            self.links.insert((from, to), Link::new(distance));
        }
    }

    fn trace_packet(&mut self, packet: &Packet) {
        let Packet { source, to, bytes, .. } = packet;
        self.trace.update(self.now.as_micros().to_be_bytes());
        // No end of a pipe has this number.
        self.trace.update(u64::MAX.to_be_bytes());
        self.trace.update(format!("{source} {to} {} ", bytes.len()));
        self.trace.update(bytes);
    }
}

/// The address of a node behind a box.
fn private_of(id: NodeId) -> IpAddr {
    let [_, a, b, c] = (id.0 as u32 + 1).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, a, b, c))
}

/// Whose it is.
fn node_of_private(ip: IpAddr) -> Option<NodeId> {
    let IpAddr::V4(ip) = ip else { return None };
    let [_, a, b, c] = ip.octets();
    (u32::from_be_bytes([0, a, b, c]) as usize).checked_sub(1).map(NodeId)
}

#[cfg(test)]
mod tests;
