//! The network of the tests.

use super::super::*;
use crate::crypto::noise::{Protocol, SymmetricState};
use crate::crypto::x25519::PublicKey;
use crate::rng::Seed;
use crate::wire::ssu2::{Fragment, ShortHeader, ShortKind, protect};
use alloc::collections::BTreeMap;
use alloc::vec;

pub(super) const UNIX: UnixTime = UnixTime::from_secs(1_800_000_000);

pub(super) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// One direction of the way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    pub(super) delay: Duration,
    /// Of a thousand packets so many are lost, late, or come twice.
    pub(super) loss: u64,
    pub(super) late: u64,
    pub(super) twice: u64,
    /// How late, at most.
    pub(super) lateness: Duration,
    /// Bytes a second, if that is limited, and the bytes that wait for it at most.
    pub(super) rate: Option<u64>,
    pub(super) queue: u64,
    /// Longer datagrams disappear.
    pub(super) longest: Option<usize>,
    /// Everything disappears.
    pub(super) cut: bool,
}

pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) sessions: [Session; 2],
    /// Where each is.
    pub(super) places: [SocketAddr; 2],
    /// The way to each.
    pub(super) links: [Link; 2],
    pub(super) rng: Rng,
    busy: [Instant; 2],
    flying: BTreeMap<(Instant, u64), (usize, SocketAddr, Vec<u8>)>,
    count: u64,
    confirmed: bool,
    pub(super) events: [Vec<SessionEvent>; 2],
    /// Every datagram to each, where that is wanted.
    pub(super) tap: Option<[Vec<Vec<u8>>; 2]>,
}

pub(super) fn place(n: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], port))
}

pub(super) fn key(n: u8) -> Key32 {
    Key32::new([n; 32])
}

/// Both sides of a fresh session.
pub(super) fn sessions(seed: u64, mtu: u16, rtt: Option<Duration>) -> [Session; 2] {
    let mut rng = Rng::new(&Seed::from_number(seed));
    let mut noise = SymmetricState::new(Protocol::Ssu2, &PublicKey(rng.bytes()));
    noise.mix_key(&Key32::new(rng.bytes()));
    let (a, b) = (ConnectionId(rng.u64()), ConnectionId(rng.u64()));
    let fragment = Fragment::WHOLE;
    let mut confirmed = Vec::new();
    let kind = ShortKind::SessionConfirmed(fragment);
    ShortHeader { destination: b, number: 0, kind }.encode(&mut confirmed);
    confirmed.extend([7; 200]);
    protect::protect(&mut confirmed, &key(2), &key(9)).unwrap();
    let now = Instant::ZERO + ms(1000);
    let opening = |ours, theirs, keys, intro, remote, role| {
        let mtu = mtu.max(MIN_MTU);
        Opening { ours, theirs, keys, intro: key(intro), remote, mtu, rtt, role }
    };
    let alice = DataKeys::for_initiator(&noise);
    let bob = DataKeys::for_responder(&noise);
    [
        Session::new(
            now,
            opening(a, b, alice, 2, place(2, 2), Role::Initiator(vec![confirmed])),
            rng.fork("alice"),
        ),
        Session::new(
            now,
            opening(b, a, bob, 1, place(1, 1), Role::Responder(key(9))),
            rng.fork("bob"),
        ),
    ]
}

impl Net {
    pub(super) fn new(seed: u64, link: Link) -> Self {
        Self::with_mtu(seed, link, MIN_MTU)
    }

    pub(super) fn with_mtu(seed: u64, link: Link, mtu: u16) -> Self {
        let now = Instant::ZERO + ms(1000);
        let rtt = (link.delay > Duration::ZERO).then_some(link.delay * 2);
        Self {
            now,
            sessions: sessions(seed, mtu, rtt),
            places: [place(1, 1), place(2, 2)],
            links: [link; 2],
            rng: Rng::new(&Seed::from_number(seed ^ 0xabcd)),
            busy: [now; 2],
            flying: BTreeMap::new(),
            count: 0,
            confirmed: false,
            events: [Vec::new(), Vec::new()],
            tap: None,
        }
    }

    /// Lets `side` say what it has, and checks its bounds.
    pub(super) fn drain(&mut self, side: usize) {
        while let Some(event) = self.sessions[side].poll_event() {
            self.events[side].push(event);
        }
        let mut out = Vec::new();
        while let Some(to) = self.sessions[side].poll_transmit(self.now, UNIX, &mut out) {
            let packet = mem::take(&mut out);
            assert!((40..=1472).contains(&packet.len()), "{} bytes", packet.len());
            let theirs = self.sessions[side].theirs.0.to_be_bytes();
            assert!(!packet.starts_with(&theirs), "the header is not protected");
            self.put(side, to, packet);
        }
        while let Some(event) = self.sessions[side].poll_event() {
            self.events[side].push(event);
        }
        self.sessions[side].audit(&mut |bound| assert!(bound.holds(), "{bound}"));
    }

    /// A datagram of `side` leaves for `to`.
    pub(super) fn put(&mut self, side: usize, to: SocketAddr, packet: Vec<u8>) {
        let other = 1 - side;
        if side == 0 && !mem::replace(&mut self.confirmed, true) {
            // The SessionConfirmed that the other side began with.
            return;
        }
        if let Some(tap) = self.tap.as_mut().filter(|_| to == self.places[other]) {
            tap[other].push(packet.clone());
        }
        let link = self.links[other];
        let gone = self.rng.below(1000) < link.loss
            || link.cut
            || to != self.places[other]
            || link.longest.is_some_and(|most| packet.len() > most);
        if gone {
            return;
        }
        let mut at = self.now;
        if let Some(rate) = link.rate {
            let busy = self.busy[other].max(at);
            if busy.saturating_since(at).as_micros() as u64 * rate / 1_000_000 > link.queue {
                return;
            }
            at = busy + Duration::from_micros(packet.len() as u64 * 1_000_000 / rate);
            self.busy[other] = at;
        }
        at = at + link.delay;
        if self.rng.below(1000) < link.late {
            at = at + Duration::from_micros(self.rng.below(link.lateness.as_micros() as u64 + 1));
        }
        for _ in 0..=usize::from(self.rng.below(1000) < link.twice) {
            self.count += 1;
            let flight = (other, self.places[side], packet.clone());
            self.flying.insert((at, self.count), flight);
        }
    }

    /// Does what is next, if that is before `end`; false when nothing is.
    pub(super) fn step(&mut self, end: Instant) -> bool {
        let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
        let timer = [0, 1].into_iter().filter_map(|s| self.sessions[s].poll_timeout()).min();
        let Some(next) = earliest(arrival, timer).filter(|at| *at <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        if arrival == Some(next) {
            let (_, (side, from, mut packet)) = self.flying.pop_first().unwrap();
            self.sessions[side].handle_packet(self.now, UNIX, from, &mut packet);
            self.drain(side);
        } else {
            for side in [0, 1] {
                if self.sessions[side].poll_timeout().is_some_and(|at| at <= self.now) {
                    self.sessions[side].handle_timeout(self.now);
                    self.drain(side);
                    let due = self.sessions[side].poll_timeout();
                    assert!(due.is_none_or(|at| at > self.now), "side {side} does not move");
                }
            }
        }
        true
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        for side in [0, 1] {
            self.drain(side);
        }
        while self.step(end) {}
    }

    /// Queues a message, which has to fit.
    pub(super) fn send(&mut self, side: usize, id: u32, len: usize) {
        let message = message(id, len);
        self.sessions[side].queue(self.now, message, Priority::Own).unwrap();
        self.drain(side);
    }

    /// The ids of the messages that `side` got, whose content has to be right.
    pub(super) fn got(&self, side: usize) -> Vec<u32> {
        let mut ids = Vec::new();
        for event in &self.events[side] {
            if let SessionEvent::Message(got) = event {
                assert_eq!(*got, message(got.id, got.body.len()), "other bytes arrived");
                ids.push(got.id);
            }
        }
        ids
    }

    pub(super) fn ended(&self, side: usize) -> Option<Result<Reason, SessionError>> {
        self.events[side].iter().find_map(|event| {
            if let SessionEvent::Closed(result) = event { Some(*result) } else { None }
        })
    }
}

pub(super) fn message(id: u32, len: usize) -> Message {
    let body = (0..len).map(|n| (n as u32).wrapping_mul(id | 1) as u8).collect();
    let expires = UNIX + Duration::from_secs(60);
    Message { kind: MessageType::DATA, id, expires, body }
}
