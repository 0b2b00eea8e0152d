//! One destination with its streams.

use super::accept::Refusals;
use super::embedded::Embedded;
use super::search::Search;
use crate::client::Slot;
use crate::client::tunnel;
use crate::config;
use crate::config::ServerKind;
use crate::conn::ConnId;
use crate::destination::Destination;
use crate::keys::DestinationKeys;
use crate::rng::Rng;
use crate::streaming::{PacketKind, StreamId, StreamStats, StreamingConfig, Streams};
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use crate::wire::payload::{Payload, Protocol};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::SocketAddr;

/// One destination with its streams.
pub(in crate::router) struct App {
    pub(in crate::router) name: Box<str>,
    pub(in crate::router) kind: Kind,
    pub(in crate::router) destination: Destination,
    pub(in crate::router) shape: config::Tunnels,
    pub(super) streams: Streams,
    /// Destinations that streams are to be opened to.
    pub(super) searches: BTreeMap<Hash, Search>,
    pub(super) by_stream: BTreeMap<StreamId, (ConnId, Slot)>,
    /// Streams whose connection is gone.
    pub(super) orphans: Vec<StreamId>,
    /// Destinations that nothing seems to reach, with the timeouts in a row.
    pub(super) stalled: Vec<(Hash, u32)>,
    /// Destinations to which no packets are made at the moment.
    pub(super) held: BTreeSet<Hash>,
    pub(in crate::router) refusals: Refusals,
}

/// What an application does.
pub(in crate::router) enum Kind {
    HttpProxy {
        listen: SocketAddr,
    },
    Client {
        listen: SocketAddr,
        to: tunnel::Destination,
    },
    Server {
        target: SocketAddr,
        kind: ServerKind,
    },
    /// It belongs to the program that we are part of.
    Embedded(Box<Embedded>),
}

impl App {
    #[expect(clippy::too_many_arguments, reason = "what makes one application another")]
    pub(super) fn new(
        name: Box<str>,
        kind: Kind,
        keys: DestinationKeys,
        publish: bool,
        shape: config::Tunnels,
        streaming: StreamingConfig,
        now: Instant,
        rng: &mut Rng,
    ) -> Self {
        let (identity, signing) = (keys.identity.clone(), keys.signing.clone());
        let streams = Streams::new(identity, signing, streaming, rng.fork("streams"));
        let destination = Destination::new(keys, publish, now, rng.fork("destination"));
        Self {
            name,
            kind,
            destination,
            shape,
            streams,
            searches: BTreeMap::new(),
            by_stream: BTreeMap::new(),
            orphans: Vec::new(),
            stalled: Vec::new(),
            held: BTreeSet::new(),
            refusals: Refusals::default(),
        }
    }

    /// Bytes that its streams and datagrams hold.
    pub(in crate::router) fn memory(&self) -> usize {
        let datagrams = self.embedded().map_or(0, Embedded::memory);
        self.streams.memory() + datagrams
    }

    pub(super) const fn is_embedded(&self) -> bool {
        matches!(self.kind, Kind::Embedded(_))
    }

    pub(super) fn embedded(&self) -> Option<&Embedded> {
        match &self.kind {
            Kind::Embedded(embedded) => Some(embedded),
            Kind::HttpProxy { .. } | Kind::Client { .. } | Kind::Server { .. } => None,
        }
    }

    pub(super) fn embedded_mut(&mut self) -> Option<&mut Embedded> {
        match &mut self.kind {
            Kind::Embedded(embedded) => Some(embedded),
            Kind::HttpProxy { .. } | Kind::Client { .. } | Kind::Server { .. } => None,
        }
    }

    /// Totals of its streams.
    pub(in crate::router) const fn stream_stats(&self) -> StreamStats {
        self.streams.stats()
    }

    /// Whether it has an equal share of the streams from the network.
    pub(super) fn takes_share(&self) -> bool {
        match &self.kind {
            Kind::Server { .. } => true,
            Kind::Embedded(embedded) => embedded.takes_share(),
            Kind::HttpProxy { .. } | Kind::Client { .. } => false,
        }
    }

    /// Hands the streams' packets to the destination; says whether there were any.
    pub(super) fn send_packets(&mut self, now: Instant, unix: UnixTime) -> bool {
        let mut any = false;
        self.hold_streams(now);
        for id in core::mem::take(&mut self.orphans) {
            self.streams.reset(now, id);
            any = true;
        }
        // Without tunnels the search would fail at once: it waits for them.
        if self.destination.is_ready() {
            for (hash, search) in &mut self.searches {
                if search.begin() {
                    self.destination.resolve(now, unix, *hash);
                    any = true;
                }
            }
        }
        any |= self.send_datagrams(now, unix);
        let streams = &self.streams;
        self.destination.trim(|hash| streams.has_stream_with(hash));
        for (hash, timeouts) in core::mem::take(&mut self.stalled) {
            log::debug!("{}: nothing reaches {hash:?}, {timeouts} timeouts", self.name);
            let sought = self.streams.wants_to_reach(&hash);
            self.destination.handle_stall(now, unix, hash, timeouts, sought);
            self.streams.handle_rerouted(now, &hash);
            any = true;
        }
        let mut data = Vec::new();
        while let Some(packet) = self.streams.poll_packet(now, &mut data) {
            let payload = Payload {
                from_port: packet.from_port,
                to_port: packet.to_port,
                protocol: Protocol::STREAMING,
                data: core::mem::take(&mut data),
            };
            let expects_reply = match packet.kind {
                PacketKind::Syn
                | PacketKind::SynAgain
                | PacketKind::Data
                | PacketKind::DataAgain => true,
                PacketKind::Ack | PacketKind::Reset | PacketKind::Echo => false,
            };
            self.destination.send(now, unix, packet.to, payload, expects_reply);
            any = true;
            // One look at this remote, and not at all of them for each packet.
            if self.destination.is_congested(&packet.to) && self.held.insert(packet.to) {
                self.streams.hold(now, &packet.to, true);
            }
        }
        any
    }

    /// No packets are made for a remote while some wait for a lease set, a tunnel or a session:
    /// made later they say more, and none is dropped for want of room.
    fn hold_streams(&mut self, now: Instant) {
        let congested: BTreeSet<Hash> = self.destination.congested().collect();
        for hash in self.held.difference(&congested) {
            self.streams.hold(now, hash, false);
        }
        for hash in congested.difference(&self.held) {
            self.streams.hold(now, hash, true);
        }
        self.held = congested;
    }
}
