//! NTCP2: blocks, options, and whole sessions on a bad wire.

use super::input::Input;
use ramson_core::crypto::Key32;
use ramson_core::crypto::sign::SigningKey;
use ramson_core::crypto::x25519::PrivateKey;
use ramson_core::crypto::{aead, siphash};
use ramson_core::rng::{Rng, Seed};
use ramson_core::time::{Instant, UnixTime};
use ramson_core::transport::ntcp2::{
    Local, Remote, ReplayCache, Session, SessionError, SessionEvent,
};
use ramson_core::transport::queue::Priority;
use ramson_core::wire::base64;
use ramson_core::wire::i2np::{Message, MessageType};
use ramson_core::wire::identity::Identity;
use ramson_core::wire::mapping::Mapping;
use ramson_core::wire::ntcp2::{
    self, Block, Blocks, CreatedOptions, OPTIONS_LEN, Reason, RequestOptions,
};
use ramson_core::wire::router_info::{RouterAddress, RouterInfo, Style};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const NET: u8 = 2;
pub(super) const UNIX: UnixTime = UnixTime::from_secs(1_800_000_000);

/// The blocks of a frame; those that we write are written again.
pub fn ntcp2_blocks(data: &[u8]) {
    let mut seen = 0;
    let mut ended = false;
    for block in Blocks::new(data) {
        assert!(!ended, "something after an error");
        let mut out = Vec::new();
        match block {
            Ok(Block::DateTime(seconds)) => ntcp2::put_date_time(&mut out, seconds),
            Ok(Block::RouterInfo { flood, bytes }) => {
                let _ = ntcp2::put_router_info(&mut out, flood, bytes);
            }
            Ok(Block::Message(bytes)) => {
                if let Ok(message) = Message::decode_short(bytes)
                    && ntcp2::put_message(&mut out, &message).is_ok()
                {
                    assert_eq!(out.len(), ntcp2::message_block_len(&message));
                }
            }
            Ok(Block::Termination { frames, reason }) => {
                assert_eq!(Reason::from_code(reason.code()), reason);
                ntcp2::put_termination(&mut out, frames, reason);
            }
            Ok(Block::Padding(len)) => ntcp2::put_padding(&mut out, len),
            Ok(_) => {}
            Err(_) => ended = true,
        }
        if let (Ok(block), false) = (block, out.is_empty()) {
            assert_eq!(Blocks::new(&out).collect::<Vec<_>>(), [Ok(block)]);
            seen += out.len();
            assert!(seen <= data.len());
        }
    }
}

/// The options of messages 1 and 2.
pub fn ntcp2_options(data: &[u8]) {
    let request = RequestOptions::decode(data);
    let created = CreatedOptions::decode(data);
    assert_eq!((request.is_ok(), created.is_ok()), (data.len() == OPTIONS_LEN, request.is_ok()));
    if let (Ok(request), Ok(created)) = (request, created) {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        request.encode(&mut one);
        created.encode(&mut two);
        assert_eq!(RequestOptions::decode(&one), Ok(request));
        assert_eq!(CreatedOptions::decode(&two), Ok(created));
    }
}

/// The fast AEAD against the portable one, and SipHash over anything.
pub fn aead_providers(data: &[u8]) {
    let mut input = Input::new(data);
    let key = Key32::new(input.array());
    let nonce: [u8; 12] = input.array();
    let len = usize::from(input.u8());
    let ad = input.bytes(len);
    let text = input.rest();
    let _ = siphash::siphash24(1, 2, text);
    let (mut fast, mut slow) = (text.to_vec(), text.to_vec());
    let tag = aead::seal_with_nonce(&key, &nonce, ad, &mut fast);
    assert_eq!(aead::portable::seal_with_nonce(&key, &nonce, ad, &mut slow), tag);
    assert_eq!(fast, slow);
    fast.extend(tag);
    slow.extend(tag);
    let opened = aead::open_with_nonce(&key, &nonce, ad, &mut fast).map(|t| t.to_vec());
    assert_eq!(opened.as_deref(), Ok(text));
    let opened = aead::portable::open_with_nonce(&key, &nonce, ad, &mut slow).map(|t| t.to_vec());
    assert_eq!(opened.as_deref(), Ok(text));
    // The input itself as sealed bytes.
    let (mut fast, mut slow) = (text.to_vec(), text.to_vec());
    let opened = aead::open_with_nonce(&key, &nonce, ad, &mut fast).is_ok();
    let same = aead::portable::open_with_nonce(&key, &nonce, ad, &mut slow).is_ok();
    assert_eq!(opened, same);
}

/// Somebody connects to us: see `run`.
pub fn ntcp2_responder(data: &[u8]) {
    run(data, false);
}

/// We connect to somebody: see `run`.
pub fn ntcp2_initiator(data: &[u8]) {
    run(data, true);
}

/// A router's keys.
pub(super) struct Router {
    local: Arc<Local>,
    pub(super) info: RouterInfo,
}

/// Two routers that know each other.
pub(super) fn routers() -> &'static [Router; 2] {
    static ROUTERS: OnceLock<[Router; 2]> = OnceLock::new();
    ROUTERS.get_or_init(|| [Router::new(1), Router::new(2)])
}

impl Router {
    fn new(n: u64) -> Self {
        let mut rng = Rng::new(&Seed::from_number(n));
        let signing = SigningKey::generate(&mut rng);
        let encryption = PrivateKey::generate(&mut rng).public();
        let identity = Identity::new_router(encryption, &signing.public(), &mut rng);
        let static_key = loop {
            let key = PrivateKey::generate(&mut rng);
            if key.public().0[31] < 0x80 {
                break key;
            }
        };
        let local = Arc::new(Local::new(identity.hash(), static_key, rng.bytes(), NET));
        let mut options = Mapping::new();
        let (s, i) = (base64::encode(&local.static_public().0), base64::encode(local.iv()));
        for (key, value) in
            [("s", &*s), ("i", &*i), ("v", "2"), ("host", "10.0.0.1"), ("port", "9")]
        {
            options.insert(key, value).unwrap();
        }
        let address = RouterAddress { cost: 3, style: Style::Ntcp2, options };
        let mut options = Mapping::new();
        options.insert("caps", "PR").unwrap();
        options.insert("netId", "2").unwrap();
        let info = RouterInfo::build(&identity, UNIX, &[address], &options, &signing);
        Self { local, info }
    }

    pub(super) fn connect(&self, to: &Self, rng: Rng) -> Session {
        let remote = Remote {
            hash: *to.local.hash(),
            static_key: *to.local.static_public(),
            iv: *to.local.iv(),
        };
        Session::connect(Instant::ZERO, self.local.clone(), self.info.clone(), remote, rng)
    }

    pub(super) fn accept(&self, rng: Rng) -> Session {
        Session::accept(Instant::ZERO, self.local.clone(), rng)
    }
}

/// A session, its memory of first messages, and what came of it.
struct End {
    session: Session,
    replay: ReplayCache,
    /// Messages queued here.
    sent: u32,
    /// One more than the number of the last message received.
    received: u32,
    closed: usize,
}

impl End {
    fn new(session: Session) -> Self {
        Self { session, replay: ReplayCache::new(), sent: 0, received: 0, closed: 0 }
    }

    fn give(&mut self, now: Instant, unix: UnixTime, bytes: &[u8], from: u32) {
        let mut copy = bytes.to_vec();
        let given = self.session.handle_bytes(now, unix, &mut self.replay, &mut copy);
        self.drain(from, given.err());
    }

    /// `from`: how many messages the other end has queued so far.
    fn drain(&mut self, from: u32, error: Option<SessionError>) {
        let mut last = None;
        while let Some(event) = self.session.poll_event() {
            assert_eq!(self.closed, 0, "an event after the last");
            match &event {
                SessionEvent::Closed(_) => self.closed += 1,
                SessionEvent::Message(got) => {
                    // The sender's queue drops what waits for too long, so some may be missing.
                    assert!((self.received..from).contains(&got.id), "nobody sent it, or twice");
                    assert_eq!(*got, message(got.id, got.body.len()));
                    self.received = got.id + 1;
                }
                SessionEvent::Established { .. }
                | SessionEvent::RouterInfo { .. }
                | SessionEvent::Skew(_) => {}
            }
            last = Some(event);
        }
        if let Some(error) = error {
            assert_eq!(last, Some(SessionEvent::Closed(Err(error))));
        }
        assert_eq!(self.closed == 1, self.session.is_closed());
        assert_eq!(self.session.poll_timeout().is_none(), self.session.is_closed());
    }

    fn take(&mut self, now: Instant, unix: UnixTime, room: usize, out: &mut Vec<u8>) {
        let before = out.len();
        let written = self.session.poll_write(now, unix, room, out);
        assert!(written <= room && out.len() == before + written);
    }
}

fn message(id: u32, len: usize) -> Message {
    let expires = UNIX + Duration::from_secs(1_000_000);
    Message { kind: MessageType::DATA, id, expires, body: vec![id as u8; len] }
}

/// A session of ours, the target, and an honest peer, with the input as the wire between them.
///
/// The first byte's low bit says whether the handshake is done first. Then operations: the peer's
/// bytes reach the target in pieces, damaged, twice, mixed with arbitrary segments or not at all;
/// time passes; both queue messages. Whatever comes out of the target was sent by the peer, in
/// order, and after the end there is silence.
fn run(data: &[u8], initiator: bool) {
    let [a, b] = routers();
    let mut input = Input::new(data);
    let mode = input.u8();
    let mut rng = Rng::new(&Seed::from_number(u64::from(mode >> 1)));
    let alice = End::new(a.connect(b, rng.fork("alice")));
    let bob = End::new(b.accept(rng.fork("bob")));
    let (mut target, mut peer) = if initiator { (alice, bob) } else { (bob, alice) };
    let mut now = Instant::from_micros(1000);
    // To the target, and to the peer.
    let (mut inward, mut outward) = (Vec::new(), Vec::new());
    if mode & 1 != 0 {
        for _ in 0..4 {
            peer.take(now, UNIX, 1 << 16, &mut inward);
            target.give(now, UNIX, &std::mem::take(&mut inward), peer.sent);
            target.take(now, UNIX, 1 << 16, &mut outward);
            peer.give(now, UNIX, &std::mem::take(&mut outward), target.sent);
        }
        assert!(target.session.is_established() && peer.session.is_established());
    }
    for _ in 0..100 {
        if input.is_empty() {
            break;
        }
        let unix = UNIX + now.saturating_since(Instant::ZERO);
        let op = input.u8();
        match op & 0x0f {
            // An arbitrary segment.
            0 => {
                let len = usize::from(input.u8());
                target.give(now, unix, input.bytes(len), peer.sent);
            }
            1 => {
                let len = usize::from(input.u16());
                target.give(now, unix, input.bytes(len), peer.sent);
            }
            // The peer's bytes, in pieces.
            2..=4 => {
                let room = if op & 0x10 == 0 { 1 << 16 } else { usize::from(input.u8()) + 1 };
                peer.take(now, unix, room, &mut inward);
                let len = if op & 0x20 == 0 { inward.len() } else { usize::from(input.u8()) };
                let piece: Vec<u8> = inward.drain(..len.min(inward.len())).collect();
                target.give(now, unix, &piece, peer.sent);
                if op & 0x40 != 0 {
                    target.give(now, unix, &piece, peer.sent);
                }
            }
            // Damaged.
            5 => {
                peer.take(now, unix, 1 << 16, &mut inward);
                let at = usize::from(input.u16());
                let with = input.u8();
                if let Some(len) = std::num::NonZero::new(inward.len()) {
                    inward[at % len] ^= with;
                }
            }
            // Lost.
            6 => inward.truncate(usize::from(input.u8())),
            // What the target says reaches the peer.
            7 | 8 => {
                let room = if op & 0x10 == 0 { 1 << 16 } else { usize::from(input.u8()) };
                target.take(now, unix, room, &mut outward);
                peer.give(now, unix, &std::mem::take(&mut outward), target.sent);
            }
            9 | 10 => {
                let len = usize::from(input.u16()) % 20_000;
                let next = message(peer.sent, len);
                peer.sent += u32::from(peer.session.queue(now, next, Priority::Own).is_ok());
            }
            11 => {
                let len = usize::from(input.u16()) % 20_000;
                let next = message(target.sent, len);
                target.sent += u32::from(target.session.queue(now, next, Priority::Own).is_ok());
            }
            12 => {
                now = now + Duration::from_millis(u64::from(input.u16()) * 4);
                target.session.handle_timeout(now);
                peer.session.handle_timeout(now);
            }
            13 => {
                let info = if initiator { &a.info } else { &b.info };
                target.session.send_router_info(now, info, op & 0x10 != 0);
            }
            14 if op & 0x30 == 0x30 => target.session.close(Reason::from_code(input.u8())),
            14 if op & 0x10 != 0 => peer.session.close(Reason::Normal),
            15 if op & 0x30 == 0x30 => target.session.handle_disconnect(),
            _ => {}
        }
        target.drain(peer.sent, None);
        peer.drain(target.sent, None);
    }
    // It ends by itself once nobody speaks.
    for _ in 0..1000 {
        let Some(until) = target.session.poll_timeout() else { break };
        now = now.max(until);
        target.session.handle_timeout(now);
        target.drain(peer.sent, None);
    }
    assert!(target.session.is_closed());
    let unix = UNIX + now.saturating_since(Instant::ZERO);
    target.give(now, unix, &[0; 64], peer.sent);
    assert!(target.session.queue(now, message(0, 1), Priority::Own).is_err());
}
