use super::answer::{Answered, BadRequest, BuildJob, Layout, find_own};
use super::record::{is_for, seal_request};
use super::reply::{BadReply, codes};
use super::request::{Asked, BadPath, Way, ask};
use crate::crypto::Key32;
use crate::crypto::aead;
use crate::crypto::aes::Decryptor;
use crate::crypto::x25519::{PrivateKey, PublicKey};
use crate::rng::{Rng, Seed};
use crate::time::{Instant, UnixTime};
use crate::tunnel::Hop;
use crate::wire::hash::Hash;
use crate::wire::i2np::MessageType;
use crate::wire::tunnel::{
    ACCEPT, LONG_RECORD_LEN, LongRequest, REJECT, Request, Role, SHORT_RECORD_LEN, counted_records,
};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

const EXPIRES: UnixTime = UnixTime::from_secs(1_800_000_010);
const US: Hash = Hash([0xee; 32]);
const INBOUND: Way = Way::Inbound { receive: 77 };
const OUTBOUND: Way = Way::Outbound { reply_gateway: Hash([0xdd; 32]), reply_tunnel: 88 };

struct Router {
    hop: Hop,
    key: Arc<PrivateKey>,
}

fn routers(n: usize, rng: &mut Rng) -> Vec<Router> {
    (0..n)
        .map(|i| {
            let key = Arc::new(PrivateKey::generate(rng));
            Router { hop: Hop { hash: Hash::of(&[i as u8]), key: key.public() }, key }
        })
        .collect()
}

fn request_of(router: &Router, layout: Layout, mut body: Vec<u8>) -> Result<BuildJob, BadRequest> {
    let slot = find_own(layout, &router.hop.hash, &mut body)?;
    let key = router.key.clone();
    let public = key.public();
    Ok(BuildJob { key, public, from: None, received: Instant::ZERO, layout, slot, body })
}

fn answer(router: &Router, body: Vec<u8>, code: u8) -> Result<(Request, Answered), BadRequest> {
    let opened = request_of(router, Layout::Short, body)?.run().opened?;
    Ok((opened.request, opened.answer(code, EXPIRES)?))
}

/// Sends a request along its path; gives what each hop was told and derived, and the reply.
fn walk(
    path: &[Router],
    body: Vec<u8>,
    code: impl Fn(usize) -> u8,
) -> (Vec<(Request, Answered)>, Vec<u8>) {
    let mut body = body;
    let mut told = Vec::new();
    for (i, router) in path.iter().enumerate() {
        let (request, answered) = answer(router, body, code(i)).unwrap();
        body = answered.message.body.clone();
        told.push((request, answered));
    }
    (told, body)
}

fn asked(path: &[Router], way: Way, rng: &mut Rng) -> (Vec<u8>, Asked) {
    let hops: Vec<Hop> = path.iter().map(|r| r.hop).collect();
    ask(&US, &hops, way, 30_000_000, 99, rng).unwrap()
}

#[test]
fn hops_learn_their_part_and_the_creator_their_answers() {
    for seed in 0..5 {
        for length in 1..=7 {
            for way in [INBOUND, OUTBOUND] {
                let mut rng = Rng::new(&Seed::from_number(seed));
                let path = routers(length, &mut rng);
                let (body, asked) = asked(&path, way, &mut rng);
                let few = length + usize::from(way == INBOUND) <= 4;
                assert_eq!(body.len(), 1 + if few { 4 } else { 8 } * SHORT_RECORD_LEN);
                let (told, mut reply) = walk(&path, body, |_| ACCEPT);
                for (i, (request, answered)) in told.iter().enumerate() {
                    let last = i + 1 == length;
                    let hop = &asked.hops[i];
                    assert_eq!(request.receive_tunnel, hop.receive);
                    let next = path.get(i + 1).map(|r| (r.hop.hash, asked.hops[i + 1].receive));
                    let end = match way {
                        Way::Inbound { receive } => (US, receive),
                        Way::Outbound { reply_gateway, reply_tunnel } => {
                            (reply_gateway, reply_tunnel)
                        }
                    };
                    assert_eq!((request.next, request.next_tunnel), next.unwrap_or(end));
                    let role = match way {
                        Way::Inbound { .. } if i == 0 => Role::Gateway,
                        Way::Outbound { .. } if last => Role::Endpoint,
                        Way::Inbound { .. } | Way::Outbound { .. } => Role::Participant,
                    };
                    assert_eq!((request.role, request.minutes), (role, 30_000_000));
                    assert_eq!((request.layer, request.lifetime), (0, 600));
                    assert_eq!(request.next_message == 99, last);
                    assert_eq!(answered.message.id, request.next_message);
                    assert_eq!(answered.layer.layer.as_bytes(), hop.keys.layer.layer.as_bytes());
                    assert_eq!(answered.layer.iv.as_bytes(), hop.keys.layer.iv.as_bytes());
                    assert_eq!(answered.garlic.is_some(), role == Role::Endpoint);
                    if let (Some(a), Some(b)) = (&answered.garlic, &hop.keys.garlic) {
                        assert_eq!((a.tag, a.key.as_bytes()), (b.tag, b.key.as_bytes()));
                    }
                    assert_eq!(
                        answered.message.kind,
                        if role == Role::Endpoint {
                            MessageType::OUTBOUND_TUNNEL_BUILD_REPLY
                        } else {
                            MessageType::SHORT_TUNNEL_BUILD
                        }
                    );
                }
                assert_eq!(codes(&asked, &mut reply), Ok(vec![ACCEPT; length]));
            }
        }
    }
}

#[test]
fn every_mix_of_answers_is_read() {
    let mut rng = Rng::new(&Seed::from_number(1));
    let path = routers(3, &mut rng);
    for mix in 0..8 {
        for way in [INBOUND, OUTBOUND] {
            let code = |i| if mix >> i & 1 == 0 { ACCEPT } else { REJECT };
            let (body, asked) = asked(&path, way, &mut rng);
            let (_, mut reply) = walk(&path, body, code);
            assert_eq!(codes(&asked, &mut reply), Ok((0..3).map(code).collect()));
        }
    }
}

#[test]
fn the_last_hop_of_an_inbound_tunnel_sees_one_more_hop() {
    let mut rng = Rng::new(&Seed::from_number(1));
    for length in 1..=7 {
        let path = routers(length, &mut rng);
        let (body, _) = asked(&path, INBOUND, &mut rng);
        let mut body = body;
        for router in &path {
            // Nobody but the one whose turn it is finds itself or the creator named.
            let records = counted_records::<SHORT_RECORD_LEN>(&mut body).unwrap();
            assert!(!records.iter().any(|r| is_for(r, &US)));
            body = answer(router, body, ACCEPT).unwrap().1.message.body;
        }
        let records = counted_records::<SHORT_RECORD_LEN>(&mut body).unwrap();
        assert_eq!(records.iter().filter(|r| is_for(&r[..], &US)).count(), 1);
    }
}

#[test]
fn slots_and_ids_are_drawn_and_ephemeral_keys_differ() {
    let mut rng = Rng::new(&Seed::from_number(1));
    let path = routers(3, &mut rng);
    let mut slots = [[0; 4]; 3];
    for _ in 0..200 {
        let (mut body, asked) = asked(&path, OUTBOUND, &mut rng);
        for (hop, count) in asked.hops.iter().zip(&mut slots) {
            count[hop.slot] += 1;
        }
        let records = counted_records::<SHORT_RECORD_LEN>(&mut body).unwrap();
        let mut keys: Vec<&[u8]> = records.iter().map(|r| &r[16..48]).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 4);
    }
    assert!(slots.iter().flatten().all(|n| (25..80).contains(n)), "{slots:?}");
}

#[test]
fn damage_is_noticed_and_nothing_panics() {
    let mut rng = Rng::new(&Seed::from_number(1));
    let path = routers(2, &mut rng);
    let (body, asked) = asked(&path, OUTBOUND, &mut rng);
    let (_, reply) = walk(&path, body.clone(), |_| ACCEPT);
    for at in 1..body.len() {
        let own = 1 + asked.hops[0].slot * SHORT_RECORD_LEN;
        let mut bad = body.clone();
        bad[at] ^= 1;
        let result = answer(&path[0], bad, ACCEPT);
        let hits = (own..own + SHORT_RECORD_LEN).contains(&at);
        assert_eq!(result.is_err(), hits, "flip at {at}");
        let mut bad = reply.clone();
        bad[at] ^= 1;
        let slots = asked.hops.iter().map(|h| 1 + h.slot * SHORT_RECORD_LEN);
        let hits = slots.clone().any(|own| (own..own + SHORT_RECORD_LEN).contains(&at));
        assert_eq!(matches!(codes(&asked, &mut bad), Err(BadReply::Record(_))), hits);
    }
    for cut in 0..body.len() {
        assert!(answer(&path[0], body[..cut].to_vec(), ACCEPT).is_err());
        assert!(codes(&asked, &mut reply[..cut].to_vec()).is_err());
    }
    // Eight records where four were sent.
    let mut eight = vec![0; 1 + 8 * SHORT_RECORD_LEN];
    eight[0] = 8;
    assert!(matches!(codes(&asked, &mut eight), Err(BadReply::Decode(_))));
    let stranger = &routers(3, &mut rng)[2];
    assert!(matches!(answer(stranger, body, ACCEPT), Err(BadRequest::NotForUs)));
}

#[test]
fn paths_that_do_not_fit_and_worthless_keys_are_refused() {
    let mut rng = Rng::new(&Seed::from_number(1));
    let hops: Vec<Hop> = routers(8, &mut rng).iter().map(|r| r.hop).collect();
    let mut try_ask = |hops: &[Hop]| ask(&US, hops, OUTBOUND, 0, 1, &mut rng).map(|_| ());
    assert_eq!(try_ask(&[]), Err(BadPath::Length(0)));
    assert_eq!(try_ask(&hops), Err(BadPath::Length(8)));
    let zero = Hop { hash: Hash([1; 32]), key: PublicKey([0; 32]) };
    assert_eq!(try_ask(&[zero]), Err(BadPath::Key));
}

/// A long request as i2pd makes it for its first tunnels: two hops, the other records masked with
/// the keys inside.
#[test]
fn long_requests_of_old_senders_are_answered() {
    for layout in [Layout::LongCounted, Layout::LongFixed] {
        let mut rng = Rng::new(&Seed::from_number(1));
        let path = routers(2, &mut rng);
        let long = |i: usize| LongRequest {
            request: Request {
                receive_tunnel: 10 + i as u32,
                next_tunnel: 11 + i as u32,
                next: if i == 0 { path[1].hop.hash } else { Hash([9; 32]) },
                role: if i == 0 { Role::Participant } else { Role::Endpoint },
                layer: 0,
                minutes: 30_000_000,
                lifetime: 600,
                next_message: 50 + i as u32,
            },
            layer_key: Key32::new([1 + i as u8; 32]),
            iv_key: Key32::new([3 + i as u8; 32]),
            reply_key: Key32::new([5 + i as u8; 32]),
            reply_iv: [7 + i as u8; 16],
        };
        let count = if layout == Layout::LongCounted { 4 } else { 8 };
        let mut records: Vec<Vec<u8>> =
            (0..count).map(|_| rng.bytes::<LONG_RECORD_LEN>().to_vec()).collect();
        let mut states = Vec::new();
        for (i, slot) in [(0, 2), (1, 0)] {
            let hop = path[i].hop;
            let mut out = Vec::new();
            let clear = long(i).encode();
            states.push(seal_request(&hop.hash, &hop.key, &clear, &mut rng, &mut out).unwrap());
            assert_eq!(out.len(), LONG_RECORD_LEN);
            records[slot] = out;
        }
        Decryptor::new(&[5; 32]).cbc_decrypt(&[7; 16], &mut records[0]);
        let mut body: Vec<u8> = records.into_iter().flatten().collect();
        if layout == Layout::LongCounted {
            body.insert(0, count);
        }
        for (i, router) in path.iter().enumerate() {
            let opened = request_of(router, layout, body).unwrap().run().opened.unwrap();
            assert_eq!(opened.request, long(i).request);
            let answered = opened.answer([ACCEPT, REJECT][i], EXPIRES).unwrap();
            assert_eq!(answered.layer.layer.as_bytes(), long(i).layer_key.as_bytes());
            assert!(answered.garlic.is_none());
            assert_eq!(answered.message.id, 50 + i as u32);
            let kinds = match layout {
                Layout::LongCounted => [23, 24],
                Layout::Short | Layout::LongFixed => [21, 22],
            };
            assert_eq!(answered.message.kind, MessageType(kinds[i]));
            body = answered.message.body;
        }
        // The creator reads the last hop's record, undoes its masks, then reads the first's.
        let from = usize::from(layout == Layout::LongCounted);
        let records = body[from..].as_chunks_mut::<LONG_RECORD_LEN>().0;
        let open = |state: &crate::crypto::noise::SymmetricState, record: &mut [u8]| {
            let key = Key32::new(*state.chaining_key());
            *aead::open(&key, 0, state.handshake_hash(), record).unwrap().last().unwrap()
        };
        assert_eq!(open(&states[1], &mut records[0]), REJECT);
        Decryptor::new(&[6; 32]).cbc_decrypt(&[8; 16], &mut records[2]);
        assert_eq!(open(&states[0], &mut records[2]), ACCEPT);
    }
}
