//! The network of the tests.

use super::super::*;
use crate::crypto::sign::SigningKey;
use crate::crypto::x25519::PrivateKey;
use crate::rng::Seed;
use crate::wire::i2np::MessageType;
use crate::wire::identity::Identity;
use crate::wire::mapping::Mapping;
use crate::wire::router_info::{RouterAddress, Ssu2Address, Style};
use core::mem;

pub(super) const UNIX: UnixTime = UnixTime::from_secs(1_800_000_000);

pub(super) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A router with an endpoint, and nothing else.
pub(super) struct Host {
    pub(super) endpoint: Endpoint,
    pub(super) at: SocketAddr,
    pub(super) remote: Remote,
    pub(super) info: RouterInfo,
    /// How far its wall clock is ahead.
    pub(super) skew: Duration,
    pub(super) events: Vec<(ConnectionId, EndpointEvent)>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    pub(super) delay: Duration,
    /// Of a thousand packets so many are lost, or come twice.
    pub(super) loss: u64,
    pub(super) twice: u64,
    pub(super) late: Duration,
}

pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) hosts: Vec<Host>,
    pub(super) link: Link,
    pub(super) rng: Rng,
    flying: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    count: u64,
    /// Every datagram: from, to, bytes.
    pub(super) tap: Option<Vec<(SocketAddr, SocketAddr, Vec<u8>)>>,
}

impl Host {
    /// `options`: more of them make a longer RouterInfo.
    pub(super) fn new(seed: u64, n: u8, options: usize) -> Self {
        let mut rng = Rng::new(&Seed::from_number(seed * 1000 + u64::from(n)));
        let at = SocketAddr::from(([10, 0, 0, n], 4_000 + u16::from(n)));
        let signing = SigningKey::generate(&mut rng);
        let key = PrivateKey::generate(&mut rng);
        let intro = rng.bytes();
        let identity = Identity::new_router(key.public(), &signing.public(), &mut rng);
        let mut address = Ssu2Address::new(key.public(), intro);
        address.host = Some(at);
        let address = RouterAddress { cost: 8, style: Style::Ssu2, options: address.options() };
        let mut more = Mapping::new();
        for (name, value) in [("netId", "99"), ("caps", "LR"), ("router.version", "0.9.66")] {
            more.insert(name, value).unwrap();
        }
        for n in 0..options {
            let value: Vec<u8> = (0..40).map(|_| b'a' + rng.below(26) as u8).collect();
            more.insert(&alloc::format!("x{n}"), core::str::from_utf8(&value).unwrap()).unwrap();
        }
        let info = RouterInfo::build(&identity, UNIX, &[address], &more, &signing);
        let static_key = key.public();
        let local = Arc::new(Local::new(info.hash(), key, intro, 99));
        let now = Instant::ZERO + ms(1000);
        let mut endpoint = Endpoint::new(now, local, 1_500, true, rng.fork("endpoint"));
        endpoint.set_own(info.clone());
        let remote = Remote { hash: info.hash(), static_key, intro, at, mtu: 1_500 };
        Self { endpoint, at, remote, info, skew: Duration::ZERO, events: Vec::new() }
    }

    pub(super) fn unix(&self) -> UnixTime {
        UNIX + self.skew
    }

    /// Sessions that came about, with the peers' names.
    pub(super) fn established(&self) -> Vec<(ConnectionId, Hash)> {
        let mut up = Vec::new();
        for (id, event) in &self.events {
            if let EndpointEvent::Established { peer, .. } = event {
                up.push((*id, peer.hash()));
            }
        }
        up
    }

    pub(super) fn got(&self) -> Vec<u32> {
        let mut ids = Vec::new();
        for (_, event) in &self.events {
            if let EndpointEvent::Session(SessionEvent::Message(message)) = event {
                ids.push(message.id);
            }
        }
        ids
    }
}

pub(super) use crate::wire::hash::Hash;

impl Net {
    pub(super) fn new(seed: u64, hosts: u8, link: Link) -> Self {
        let hosts = (1..=hosts).map(|n| Host::new(seed, n, 0)).collect();
        Self {
            now: Instant::ZERO + ms(1000),
            hosts,
            link,
            rng: Rng::new(&Seed::from_number(seed ^ 0xabcd)),
            flying: BTreeMap::new(),
            count: 0,
            tap: None,
        }
    }

    pub(super) fn connect(&mut self, from: usize, to: usize) -> ConnectionId {
        let remote = self.hosts[to].remote;
        let host = &mut self.hosts[from];
        let id = host.endpoint.connect(self.now, host.unix(), remote).unwrap();
        self.drain(from);
        id
    }

    pub(super) fn send(&mut self, from: usize, id: ConnectionId, message: u32, len: usize) {
        let expires = UNIX + Duration::from_secs(60);
        let body = alloc::vec![0; len];
        let message = Message { kind: MessageType::DATA, id: message, expires, body };
        self.hosts[from].endpoint.queue(self.now, id, message, Priority::Own).unwrap();
        self.drain(from);
    }

    pub(super) fn drain(&mut self, n: usize) {
        let now = self.now;
        loop {
            let host = &mut self.hosts[n];
            while let Some(event) = host.endpoint.poll_event() {
                host.events.push(event);
            }
            let (mut out, unix) = (Vec::new(), host.unix());
            let Some(to) = host.endpoint.poll_transmit(now, unix, &mut out) else { break };
            let from = host.at;
            self.put(from, to, out);
        }
        let host = &mut self.hosts[n];
        while let Some(event) = host.endpoint.poll_event() {
            host.events.push(event);
        }
        host.endpoint.audit(&mut |bound| assert!(bound.holds(), "{bound}"));
    }

    pub(super) fn put(&mut self, from: SocketAddr, to: SocketAddr, packet: Vec<u8>) {
        if let Some(tap) = &mut self.tap {
            tap.push((from, to, packet.clone()));
        }
        if self.rng.below(1000) < self.link.loss {
            return;
        }
        for _ in 0..=usize::from(self.rng.below(1000) < self.link.twice) {
            let late = self.rng.below(self.link.late.as_micros() as u64 + 1);
            let at = self.now + self.link.delay + Duration::from_micros(late);
            self.count += 1;
            self.flying.insert((at, self.count), (from, to, packet.clone()));
        }
    }

    pub(super) fn deliver(&mut self, from: SocketAddr, to: SocketAddr, mut packet: Vec<u8>) {
        let Some(n) = self.hosts.iter().position(|h| h.at == to) else { return };
        let host = &mut self.hosts[n];
        let unix = host.unix();
        host.endpoint.handle_datagram(self.now, unix, from, &mut packet);
        self.drain(n);
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        for n in 0..self.hosts.len() {
            self.drain(n);
        }
        loop {
            let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
            let timer = self.hosts.iter().filter_map(|h| h.endpoint.poll_timeout()).min();
            let next = crate::time::earliest(arrival, timer).filter(|at| *at <= end);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let (_, (from, to, packet)) = self.flying.pop_first().unwrap();
                self.deliver(from, to, packet);
                continue;
            }
            for n in 0..self.hosts.len() {
                if self.hosts[n].endpoint.poll_timeout().is_some_and(|at| at <= self.now) {
                    self.hosts[n].endpoint.handle_timeout(self.now);
                    self.drain(n);
                    let due = self.hosts[n].endpoint.poll_timeout();
                    assert!(due.is_none_or(|at| at > self.now), "host {n} does not move");
                }
            }
        }
        self.now = end;
    }

    /// What went over the wires since this was called last.
    pub(super) fn seen(&mut self) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        mem::take(self.tap.get_or_insert_default())
    }
}
