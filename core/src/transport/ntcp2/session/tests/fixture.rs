//! Routers, pairs of sessions and a clock.

use crate::crypto::sign::SigningKey;
use crate::crypto::x25519::PrivateKey;
use crate::rng::{Rng, Seed};
use crate::time::{Instant, UnixTime};
use crate::transport::ntcp2::{Local, Remote, ReplayCache, Session, SessionError, SessionEvent};
use crate::wire::base64;
use crate::wire::i2np::{Message, MessageType};
use crate::wire::identity::Identity;
use crate::wire::mapping::Mapping;
use crate::wire::router_info::{RouterAddress, RouterInfo, Style};
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

pub(super) const NET: u8 = 99;
pub(super) const START: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A router's keys.
pub(super) struct Router {
    pub(super) local: Arc<Local>,
    pub(super) identity: Identity,
    pub(super) signing: SigningKey,
}

impl Router {
    pub(super) fn new(n: u64) -> Self {
        Self::on_net(n, NET)
    }

    pub(super) fn on_net(n: u64, net: u8) -> Self {
        let mut rng = Rng::new(&Seed::from_number(n)).fork("router");
        let signing = SigningKey::generate(&mut rng);
        let encryption = PrivateKey::generate(&mut rng).public();
        let identity = Identity::new_router(encryption, &signing.public(), &mut rng);
        let static_key = PrivateKey::generate(&mut rng);
        let local = Arc::new(Local::new(identity.hash(), static_key, rng.bytes(), net));
        Self { local, identity, signing }
    }

    pub(super) fn info(&self) -> RouterInfo {
        self.info_with(START, Some(NET), &self.local)
    }

    /// A RouterInfo with this date, network id and transport keys.
    pub(super) fn info_with(
        &self,
        published: UnixTime,
        net: Option<u8>,
        keys: &Local,
    ) -> RouterInfo {
        let mut address = Mapping::new();
        for (key, value) in [
            ("s", base64::encode(&keys.static_public().0)),
            ("i", base64::encode(keys.iv())),
            ("v", "2".to_string()),
            ("host", "10.0.0.1".to_string()),
            ("port", "9".to_string()),
        ] {
            address.insert(key, &value).unwrap();
        }
        let address = RouterAddress { cost: 3, style: Style::Ntcp2, options: address };
        let mut options = Mapping::new();
        options.insert("caps", "PR").unwrap();
        if let Some(net) = net {
            options.insert("netId", &net.to_string()).unwrap();
        }
        RouterInfo::build(&self.identity, published, &[address], &options, &self.signing)
    }

    pub(super) fn remote(&self) -> Remote {
        Remote {
            hash: *self.local.hash(),
            static_key: *self.local.static_public(),
            iv: *self.local.iv(),
        }
    }

    /// A session of this router to `peer`.
    pub(super) fn connect(&self, peer: &Self, seed: u64) -> Session {
        let rng = Rng::new(&Seed::from_number(seed));
        Session::connect(Instant::ZERO, self.local.clone(), self.info(), peer.remote(), rng)
    }

    /// A session that this router accepted.
    pub(super) fn accept(&self, seed: u64) -> Session {
        let rng = Rng::new(&Seed::from_number(seed)).fork("accept");
        Session::accept(Instant::ZERO, self.local.clone(), rng)
    }
}

/// One end: a session, its clock, what it said.
pub(super) struct End {
    pub(super) session: Session,
    pub(super) clock: UnixTime,
    pub(super) replay: ReplayCache,
    pub(super) events: Vec<SessionEvent>,
}

impl End {
    pub(super) fn new(session: Session) -> Self {
        Self { session, clock: START, replay: ReplayCache::new(), events: Vec::new() }
    }

    pub(super) fn unix(&self, now: Instant) -> UnixTime {
        self.clock + now.saturating_since(Instant::ZERO)
    }

    /// Gives it bytes and collects what it says.
    pub(super) fn give(&mut self, now: Instant, bytes: &[u8]) -> Result<(), SessionError> {
        let unix = self.unix(now);
        let mut copy = bytes.to_vec();
        let result = self.session.handle_bytes(now, unix, &mut self.replay, &mut copy);
        self.collect();
        if let Err(error) = result {
            assert_eq!(self.events.last(), Some(&SessionEvent::Closed(Err(error))));
        }
        result
    }

    /// Takes what it wants to write, `room` bytes a call.
    pub(super) fn take(&mut self, now: Instant, room: usize) -> Vec<u8> {
        let unix = self.unix(now);
        let mut out = Vec::new();
        while self.session.wants_write() {
            let before = out.len();
            let written = self.session.poll_write(now, unix, room, &mut out);
            assert_eq!(out.len() - before, written);
            assert!(written <= room);
            if written == 0 {
                break;
            }
        }
        self.collect();
        out
    }

    pub(super) fn timeout(&mut self, now: Instant) {
        self.session.handle_timeout(now);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(event) = self.session.poll_event() {
            self.events.push(event);
        }
    }

    pub(super) fn messages(&self) -> Vec<Message> {
        let message = |event: &SessionEvent| {
            let SessionEvent::Message(message) = event else { return None };
            Some(message.clone())
        };
        self.events.iter().filter_map(message).collect()
    }

    pub(super) fn closed(&self) -> Option<&SessionEvent> {
        self.events.iter().find(|event| matches!(event, SessionEvent::Closed(_)))
    }

    pub(super) fn error(&self) -> Option<SessionError> {
        let SessionEvent::Closed(Err(error)) = self.closed()? else { return None };
        Some(*error)
    }
}

/// Two ends and the time.
pub(super) struct Pair {
    pub(super) a: End,
    pub(super) b: End,
    pub(super) now: Instant,
}

impl Pair {
    pub(super) fn new(seed: u64) -> Self {
        let (alice, bob) = (Router::new(1), Router::new(2));
        Self::of(alice.connect(&bob, seed), bob.accept(seed))
    }

    pub(super) fn of(a: Session, b: Session) -> Self {
        Self { a: End::new(a), b: End::new(b), now: Instant::from_micros(1000) }
    }

    /// With the handshake done.
    pub(super) fn established(seed: u64) -> Self {
        let mut pair = Self::new(seed);
        pair.pump();
        assert!(pair.a.session.is_established() && pair.b.session.is_established());
        pair.a.events.clear();
        pair.b.events.clear();
        pair
    }

    /// Moves bytes until both are silent. Errors are left in the events.
    pub(super) fn pump(&mut self) {
        self.pump_cut(|bytes| bytes.len());
    }

    /// As [`Self::pump`]; `cut` says how many bytes of what is left arrive together.
    pub(super) fn pump_cut(&mut self, mut cut: impl FnMut(&[u8]) -> usize) {
        loop {
            let from_a = self.a.take(self.now, 1 << 20);
            let from_b = self.b.take(self.now, 1 << 20);
            if from_a.is_empty() && from_b.is_empty() {
                return;
            }
            for (to, bytes) in [(&mut self.b, from_a), (&mut self.a, from_b)] {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let (piece, later) = rest.split_at(cut(rest).clamp(1, rest.len()));
                    let _in_events = to.give(self.now, piece);
                    rest = later;
                }
            }
        }
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
    }
}

pub(super) fn message(id: u32, len: usize) -> Message {
    let body = (0..len).map(|i| (i as u32 + id) as u8).collect();
    let expires = START + Duration::from_secs(3600);
    Message { kind: MessageType::TUNNEL_DATA, id, expires, body }
}
