//! Routers, and both ends of a handshake as their owner drives them.

use crate::crypto::sign::SigningKey;
use crate::crypto::x25519::PrivateKey;
use crate::rng::{Rng, Seed};
use crate::time::{Instant, UnixTime};
use crate::transport::ssu2::handshake::initiator::{Answered, AwaitCreated, AwaitRetry, Start};
use crate::transport::ssu2::handshake::responder::{AwaitConfirmed, Confirmed, Request};
use crate::transport::ssu2::handshake::retry::{self, Answer, Asked};
use crate::transport::ssu2::{HandshakeError, Ids, Local, Outcome, Remote, Tokens};
use crate::transport::ssu2::{initiator, responder};
use crate::wire::base64;
use crate::wire::identity::Identity;
use crate::wire::mapping::Mapping;
use crate::wire::router_info::{RouterAddress, RouterInfo, Ssu2Address, Style};
use crate::wire::ssu2::{Header, LongKind, MIN_MTU, protect};
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::num::NonZeroU64;
use core::time::Duration;

pub(super) const NET: u8 = 99;
pub(super) const START: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A router's keys.
pub(super) struct Router {
    pub(super) local: Arc<Local>,
    pub(super) identity: Identity,
    pub(super) signing: SigningKey,
    pub(super) at: SocketAddr,
}

/// How to fill a RouterInfo up.
#[derive(Clone, Copy)]
pub(super) enum Filler {
    None,
    /// Bytes that compress well.
    Dull(usize),
    /// Bytes that do not.
    Random(usize),
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
        let static_key = loop {
            let key = PrivateKey::generate(&mut rng);
            if key.public().0[31] < 0x80 {
                break key;
            }
        };
        let local = Arc::new(Local::new(identity.hash(), static_key, rng.bytes(), net));
        let at = SocketAddr::from(([10, 0, 0, n as u8], 1000 + n as u16));
        Self { local, identity, signing, at }
    }

    pub(super) fn over_ipv6(mut self) -> Self {
        let last = self.at.port();
        self.at = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], last));
        self
    }

    pub(super) fn info(&self) -> RouterInfo {
        self.info_with(START, Some(NET), &self.local, Filler::None)
    }

    pub(super) fn filled(&self, filler: Filler) -> RouterInfo {
        self.info_with(START, Some(NET), &self.local, filler)
    }

    /// A RouterInfo with this date, network id and transport keys.
    pub(super) fn info_with(
        &self,
        published: UnixTime,
        net: Option<u8>,
        keys: &Local,
        filler: Filler,
    ) -> RouterInfo {
        let intro = *keys.intro().as_bytes();
        let mut address = Ssu2Address::new(*keys.static_public(), intro);
        (address.host, address.mtu) = (Some(self.at), 1400);
        let address = RouterAddress { cost: 3, style: Style::Ssu2, options: address.options() };
        let mut options = Mapping::new();
        options.insert("caps", "PR").unwrap();
        if let Some(net) = net {
            options.insert("netId", &net.to_string()).unwrap();
        }
        let mut rng = Rng::new(&Seed::from_number(77));
        let (mut left, dull) = match filler {
            Filler::None => (0, true),
            Filler::Dull(len) => (len, true),
            Filler::Random(len) => (len, false),
        };
        let mut n = 0;
        while left > 0 {
            let len = left.min(200);
            let bytes: Vec<u8> =
                (0..len * 3 / 4).map(|_| if dull { 0 } else { rng.u32() as u8 }).collect();
            options.insert(&format!("x{n}"), &base64::encode(&bytes)).unwrap();
            (left, n) = (left - len, n + 1);
        }
        RouterInfo::build(&self.identity, published, &[address], &options, &self.signing)
    }

    pub(super) fn remote(&self) -> Remote {
        Remote {
            hash: *self.local.hash(),
            static_key: *self.local.static_public(),
            intro: *self.local.intro().as_bytes(),
            at: self.at,
            mtu: MIN_MTU,
        }
    }
}

/// Alice, whatever her state.
pub(super) enum Alice {
    Start(Start),
    AwaitRetry(AwaitRetry),
    AwaitCreated(AwaitCreated),
    Done(initiator::Done),
    Failed(HandshakeError),
}

/// Bob, as the owner of his sockets has it.
pub(super) struct Bob {
    pub(super) router: Router,
    pub(super) tokens: Tokens,
    pub(super) pending: Option<AwaitConfirmed>,
    pub(super) done: Option<responder::Done>,
    pub(super) failed: Option<HandshakeError>,
    pub(super) relay_tag: Option<u32>,
    /// What each Retry has more than its question, in percent of that.
    pub(super) growth: Vec<usize>,
}

/// Both, and the time.
pub(super) struct Pair {
    pub(super) alice: Alice,
    pub(super) alice_at: SocketAddr,
    pub(super) bob: Bob,
    pub(super) now: Instant,
    pub(super) alice_clock: UnixTime,
    pub(super) bob_clock: UnixTime,
    pub(super) rng: Rng,
    /// What the latest packet was ignored for.
    pub(super) ignored: Option<HandshakeError>,
}

impl Pair {
    pub(super) fn new(seed: u64) -> Self {
        let alice = Router::new(1);
        let info = alice.info();
        Self::of(&alice, &info, Router::new(2), seed)
    }

    pub(super) fn of(alice: &Router, info: &RouterInfo, bob: Router, seed: u64) -> Self {
        let mut rng = Rng::new(&Seed::from_number(seed));
        let ids = Ids::draw(&mut rng);
        let start = Start::new(alice.local.clone(), bob.remote(), info, ids, false).unwrap();
        Self::with(start, alice.at, bob, rng)
    }

    pub(super) fn with(start: Start, alice_at: SocketAddr, bob: Router, mut rng: Rng) -> Self {
        Self {
            alice: Alice::Start(start),
            alice_at,
            bob: Bob {
                router: bob,
                tokens: Tokens::new(&mut rng),
                pending: None,
                done: None,
                failed: None,
                relay_tag: None,
                growth: Vec::new(),
            },
            now: Instant::from_micros(5_000_000),
            alice_clock: START,
            bob_clock: START,
            rng,
            ignored: None,
        }
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.alice_clock = self.alice_clock + time;
        self.bob_clock = self.bob_clock + time;
    }

    /// Alice's first packet.
    pub(super) fn ask(&mut self) -> Vec<u8> {
        let Alice::Start(start) = self.take_alice() else { panic!("not at the start") };
        let state = start.ask_token(self.now, self.alice_clock, &mut self.rng).unwrap();
        let packet = state.packet().to_vec();
        self.alice = Alice::AwaitRetry(state);
        packet
    }

    /// Alice's first packet, with a token.
    pub(super) fn request(&mut self, token: NonZeroU64) -> Vec<u8> {
        let Alice::Start(start) = self.take_alice() else { panic!("not at the start") };
        let state = start.request(token, self.now, self.alice_clock, &mut self.rng).unwrap();
        let packet = state.packet().to_vec();
        self.alice = Alice::AwaitCreated(state);
        packet
    }

    fn take_alice(&mut self) -> Alice {
        core::mem::replace(&mut self.alice, Alice::Failed(HandshakeError::Proof))
    }

    /// A packet to Alice; returns what she sends.
    pub(super) fn alice_gets(&mut self, packet: &[u8]) -> Vec<Vec<u8>> {
        let (now, unix) = (self.now, self.alice_clock);
        let mut packet = packet.to_vec();
        self.ignored = None;
        let (next, out) = match self.take_alice() {
            Alice::AwaitRetry(state) => match state.handle(now, unix, &mut packet, &mut self.rng) {
                Outcome::Ignored(state, error) => {
                    self.ignored = Some(error);
                    (Alice::AwaitRetry(state), [].into())
                }
                Outcome::Next(state) => {
                    let out = [state.packet().to_vec()].into();
                    (Alice::AwaitCreated(state), out)
                }
                Outcome::Failed(error) => (Alice::Failed(error), [].into()),
            },
            Alice::AwaitCreated(state) => {
                match state.handle(now, unix, &mut packet, &mut self.rng) {
                    Outcome::Ignored(state, error) => {
                        self.ignored = Some(error);
                        (Alice::AwaitCreated(state), [].into())
                    }
                    Outcome::Next(Answered::Retried(state)) => {
                        let out = [state.packet().to_vec()].into();
                        (Alice::AwaitCreated(state), out)
                    }
                    Outcome::Next(Answered::Established(done)) => {
                        let out = done.confirmed.clone();
                        (Alice::Done(done), out)
                    }
                    Outcome::Failed(error) => (Alice::Failed(error), [].into()),
                }
            }
            other @ (Alice::Start(_) | Alice::Done(_) | Alice::Failed(_)) => (other, Vec::new()),
        };
        self.alice = next;
        out
    }

    /// A packet to Bob from Alice's address; returns what he sends.
    pub(super) fn bob_gets(&mut self, packet: &[u8]) -> Vec<Vec<u8>> {
        let (now, unix, from) = (self.now, self.bob_clock, self.alice_at);
        let bob = &mut self.bob;
        let local = bob.router.local.clone();
        let mut packet = packet.to_vec();
        self.ignored = None;
        let Ok(destination) = protect::destination(&packet, local.intro()) else {
            return Vec::new();
        };
        let mut plain = packet.clone();
        let header = protect::unprotect(&mut plain, destination, local.intro());
        // What is for a session comes first: the keys of others make any header of it.
        if let Some(mut pending) = bob.pending.take_if(|state| state.ids().ours() == destination) {
            if header.is_ok() && pending.is_answer_to(&plain) {
                let out = [pending.again().to_vec()].into();
                bob.pending = Some(pending);
                return out;
            }
            match pending.handle(now, unix, &mut packet) {
                Outcome::Ignored(state, error) => {
                    bob.pending = Some(state);
                    self.ignored = Some(error);
                }
                Outcome::Next(Confirmed::Incomplete(state)) => bob.pending = Some(state),
                Outcome::Next(Confirmed::Established(done)) => bob.done = Some(done),
                Outcome::Failed(error) => bob.failed = Some(error),
            }
            if let Some(pending) = &bob.pending {
                assert!(pending.kept() <= AwaitConfirmed::MAX_KEPT);
            }
            return Vec::new();
        }
        let Ok(Header::Long(header)) = header else { return Vec::new() };
        let mut ignore = |error| {
            self.ignored = Some(error);
            Vec::new()
        };
        let asked = Asked { header, len: plain.len(), from };
        let answer = match header.kind {
            LongKind::TokenRequest => {
                match retry::token_request(&local, unix, &header, &mut plain) {
                    Ok(_) => Answer::Token(bob.tokens.for_retry(now, from, &mut self.rng)),
                    Err(error) => match error.reason() {
                        Some(reason) => Answer::Refused(reason),
                        None => return ignore(error),
                    },
                }
            }
            LongKind::SessionRequest => {
                let token = match bob.tokens.check(now, from, header.token) {
                    Ok(token) => token,
                    Err(_) => {
                        let token = bob.tokens.for_retry(now, from, &mut self.rng);
                        return self.retry(&asked, Answer::Token(token));
                    }
                };
                let tokens = &mut bob.tokens;
                match Request::open(local, tokens, token, &header, &mut plain, unix) {
                    Ok(request) => {
                        assert!(bob.pending.is_none(), "one at a time");
                        let tag = bob.relay_tag.filter(|_| request.wants_relay_tag());
                        let pending = request.create(now, unix, tag, &mut self.rng).unwrap();
                        let out = pending.packet().to_vec();
                        bob.pending = Some(pending);
                        return [out].into();
                    }
                    Err(error) => match error.reason() {
                        Some(reason) => Answer::Refused(reason),
                        None => return ignore(error),
                    },
                }
            }
            LongKind::SessionCreated
            | LongKind::PeerTest
            | LongKind::Retry
            | LongKind::HolePunch => return ignore(HandshakeError::Unexpected),
        };
        self.retry(&asked, answer)
    }

    pub(super) fn retry(&mut self, asked: &Asked, answer: Answer) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let local = &self.bob.router.local;
        let result = retry::retry(local, asked, answer, self.bob_clock, &mut self.rng, &mut out);
        if let Err(error) = result {
            self.ignored = Some(error);
            return Vec::new();
        }
        self.bob.growth.push(out.len() * 100 / asked.len);
        [out].into()
    }

    /// Up to SessionCreated, which is returned.
    pub(super) fn until_created(&mut self) -> Vec<u8> {
        let ask = self.ask();
        let retry = self.bob_gets(&ask).pop().unwrap();
        let request = self.alice_gets(&retry).pop().unwrap();
        self.bob_gets(&request).pop().unwrap()
    }

    /// All of it, or as far as it goes.
    pub(super) fn run(&mut self) {
        let mut to_bob = Vec::from([self.ask()]);
        while !to_bob.is_empty() {
            let to_alice: Vec<_> = to_bob.iter().flat_map(|packet| self.bob_gets(packet)).collect();
            to_bob = to_alice.iter().flat_map(|packet| self.alice_gets(packet)).collect();
        }
    }

    /// Both ends, which are done and have the same keys.
    pub(super) fn done(&self) -> (&initiator::Done, &responder::Done) {
        let Alice::Done(alice) = &self.alice else { panic!("Alice: {:?}", self.alice_error()) };
        let bob = self.bob.done.as_ref();
        let bob = bob.unwrap_or_else(|| panic!("Bob: {:?}, {:?}", self.bob.failed, self.ignored));
        let (a, b) = (&alice.established, &bob.established);
        for (send, receive) in [(&a.keys.send, &b.keys.receive), (&b.keys.send, &a.keys.receive)] {
            assert_eq!(send.data.as_bytes(), receive.data.as_bytes());
            assert_eq!(send.header.as_bytes(), receive.header.as_bytes());
        }
        assert_ne!(a.keys.send.data.as_bytes(), a.keys.receive.data.as_bytes());
        assert_eq!((a.ids.ours(), a.ids.theirs()), (b.ids.theirs(), b.ids.ours()));
        (alice, bob)
    }

    pub(super) fn alice_error(&self) -> Option<HandshakeError> {
        let Alice::Failed(error) = &self.alice else { return None };
        Some(*error)
    }
}
