//! Garlic: blocks, messages to routers and for replies, and two destinations with a bad wire
//! between them.

use super::input::Input;
use ramson_core::crypto::noise::{Protocol, SymmetricState};
use ramson_core::crypto::x25519::{PrivateKey, PublicKey};
use ramson_core::crypto::{Key32, aead};
use ramson_core::garlic::MAX_CLOVES;
use ramson_core::garlic::ecies::{Remote, SendOptions, SessionId, Sessions};
use ramson_core::garlic::reply::ReplyTags;
use ramson_core::garlic::router::Opener;
use ramson_core::rng::{Rng, Seed};
use ramson_core::time::{Instant, UnixTime};
use ramson_core::wire::codec::Reader;
use ramson_core::wire::garlic::{Block, Clove, Delivery};
use ramson_core::wire::hash::Hash;
use ramson_core::wire::i2np::{Message, MessageType};
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const UNIX: UnixTime = UnixTime::from_secs(1_800_000_000);

/// The blocks of a payload, one after the other.
pub fn garlic_blocks(data: &[u8]) {
    let mut r = Reader::new(data);
    while !r.is_empty() {
        let Ok(block) = Block::decode(&mut r) else { break };
        let mut out = Vec::new();
        block.encode(&mut out).unwrap();
        assert!(out.len() <= data.len());
        let mut again = Reader::new(&out);
        assert_eq!(Block::decode(&mut again).as_ref(), Ok(&block));
        assert!(again.is_empty());
        if let Block::Clove(clove) = &block {
            assert_eq!(clove.block_len(), out.len());
        }
    }
}

/// The input as a payload that is sealed to our router, and as the sealed bytes.
pub fn garlic_router(data: &[u8]) {
    static KEYS: OnceLock<(Opener, PublicKey)> = OnceLock::new();
    let (opener, public) = KEYS.get_or_init(|| {
        let key = Arc::new(PrivateKey::from_bytes([3; 32]));
        (Opener::new(key.clone()), key.public())
    });
    let mut body = sized(data);
    check(opener.open(UNIX, &mut body));
    let ephemeral = PrivateKey::from_bytes([5; 32]);
    let mut noise = SymmetricState::new(Protocol::Router, public);
    noise.mix_hash(&ephemeral.public().0);
    noise.mix_key(&ephemeral.diffie_hellman(public).unwrap());
    let mut sealed = ephemeral.public().0.to_vec();
    sealed.extend(data);
    noise.encrypt_and_hash(&mut sealed, 32);
    check(opener.open(UNIX, &mut sized(&sealed)));
}

/// The input as a payload under a tag that we gave out, and as the sealed bytes.
pub fn garlic_reply(data: &[u8]) {
    let (tag, key) = ([1; 8], Key32::new([2; 32]));
    let mut tags = ReplyTags::new();
    tags.insert(Instant::ZERO, tag, key.duplicate());
    let mut forged = sized(&[&tag, data].concat());
    if let Some(opened) = tags.open(Instant::ZERO, &mut forged) {
        assert!(opened.is_err(), "forged");
    }
    assert_eq!(tags.len(), 1, "the tag is left for the real reply");
    let mut sealed = data.to_vec();
    let mac = aead::seal(&key, 0, &tag, &mut sealed);
    let mut body = sized(&[&tag[..], &sealed, &mac].concat());
    check(tags.open(Instant::ZERO, &mut body).unwrap());
    assert!(tags.is_empty());
}

fn sized(content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len()).unwrap();
    [&len.to_be_bytes(), content].concat()
}

fn check<E>(opened: Result<Vec<Clove>, E>) {
    if let Ok(cloves) = opened {
        assert!(cloves.len() <= MAX_CLOVES);
    }
}

/// One end of the ratchet, and what it received.
struct End {
    sessions: Sessions,
    remote: Remote,
    received: BTreeSet<u32>,
    unbound: Vec<SessionId>,
}

/// Two destinations. The input says who sends and what becomes of each message: delivered late,
/// twice, damaged or never. Whatever arrives was sent, unchanged, and arrives once.
pub fn ratchet_ops(data: &[u8]) {
    let mut input = Input::new(data);
    let seed = Seed::from_number(input.u8().into());
    let mut rng = Rng::new(&seed);
    let key = |n| Arc::new(PrivateKey::from_bytes([n; 32]));
    let end = |own: u8, other: u8, rng: &mut Rng| End {
        sessions: Sessions::new(key(own), rng.fork("sessions")),
        remote: Remote { destination: Hash([other; 32]), key: key(other).public() },
        received: BTreeSet::new(),
        unbound: Vec::new(),
    };
    let mut ends = [end(1, 2, &mut rng), end(2, 1, &mut rng)];
    let mut now = Instant::from_micros(1);
    let mut wire: [Vec<Vec<u8>>; 2] = [Vec::new(), Vec::new()];
    let mut sent = 0;
    for _ in 0..200 {
        if input.is_empty() {
            break;
        }
        let op = input.u8();
        let who = usize::from(op >> 7);
        let unix = UNIX + now.saturating_since(Instant::ZERO);
        match op & 0x0f {
            0..=3 => {
                let end = &mut ends[who];
                let options =
                    SendOptions { bind: op & 0x40 == 0, ack: op & 0x20 != 0, expects_reply: true };
                let cloves = [clove(sent, usize::from(input.u8()) * 8)];
                let remote = end.remote;
                if let Ok((body, _)) = end.sessions.encrypt(now, unix, &remote, &cloves, options) {
                    wire[who].push(body);
                    sent += 1;
                }
            }
            4..=8 => {
                let at = usize::from(input.u8());
                let queue = &mut wire[who];
                if queue.is_empty() {
                    continue;
                }
                let body = queue[at % queue.len()].clone();
                if op & 0x40 == 0 {
                    queue.remove(at % queue.len());
                }
                deliver(&mut ends[1 - who], now, unix, body, sent);
            }
            9 | 10 => {
                let (at, bit) = (usize::from(input.u8()), usize::from(input.u16()));
                let queue = &wire[who];
                if queue.is_empty() {
                    continue;
                }
                let mut body = queue[at % queue.len()].clone();
                // The top bits of an ephemeral key are random filling: it is behind the length in a new
                // session, and behind the tag too in a reply.
                let bit = bit % (body.len() * 8);
                if matches!(bit / 8, 35 | 43) && bit % 8 >= 6 {
                    continue;
                }
                body[bit / 8] ^= 1 << (bit % 8);
                assert!(ends[1 - who].sessions.handle(now, unix, &mut body).is_err(), "damaged");
            }
            11 => {
                let len = usize::from(input.u8());
                let mut body = sized(input.bytes(len));
                assert!(ends[who].sessions.handle(now, unix, &mut body).is_err(), "garbage");
            }
            12 => wire[who].clear(),
            13 => {
                let end = &mut ends[who];
                for session in std::mem::take(&mut end.unbound) {
                    end.sessions.bind(now, session, end.remote.destination);
                }
            }
            _ => now = now + Duration::from_millis(u64::from(input.u16()) * 20),
        }
        for (who, end) in ends.iter_mut().enumerate() {
            if end.sessions.poll_timeout().is_some_and(|at| at <= now) {
                end.sessions.handle_timeout(now);
            }
            while end.sessions.poll_event().is_some() {}
            while let Some(outgoing) = end.sessions.poll_outgoing(now) {
                assert_eq!(outgoing.remote, end.remote);
                wire[who].push(outgoing.body);
            }
            assert!(end.sessions.len() <= 201);
        }
    }
}

fn deliver(end: &mut End, now: Instant, unix: UnixTime, mut body: Vec<u8>, sent: u32) {
    let Ok(received) = end.sessions.handle(now, unix, &mut body) else { return };
    if let Some(key) = received.remote_key {
        assert_eq!(key, end.remote.key);
        end.unbound.extend(received.session);
    }
    for got in received.cloves {
        let id = got.message.id;
        assert!(id < sent && end.received.insert(id), "{id} was not sent, or came twice");
        assert_eq!(got, clove(id, got.message.body.len()));
    }
}

fn clove(id: u32, len: usize) -> Clove {
    Clove {
        delivery: Delivery::Local,
        message: Message {
            kind: MessageType::DATA,
            id,
            expires: UNIX + Duration::from_secs(60),
            body: vec![id as u8; len],
        },
    }
}
