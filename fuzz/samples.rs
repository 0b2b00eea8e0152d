//! The committed corpus, made from encoders and test vectors: valid samples and edge cases.
//!
//! Inputs that fuzzing found are committed beside these, under names that start with `found-`.

mod machines;
mod ssu2;

use crate::targets::test_destination;
use ramson_core::crypto::x25519;
use ramson_core::crypto::{Key32, elligator2};
use ramson_core::keys::{DestinationKeys, RouterKeys};
use ramson_core::rng::{Rng, Seed};
use ramson_core::time::UnixTime;
use ramson_core::wire::base64;
use ramson_core::wire::datagram::{Datagram1, Datagram2, Datagram3};
use ramson_core::wire::garlic::{Block, Clove, Delivery, MessageNumber, NextKey};
use ramson_core::wire::gzip;
use ramson_core::wire::hash::Hash;
use ramson_core::wire::i2np::{
    DatabaseLookup, DatabaseSearchReply, DatabaseStore, DeliveryStatus, LookupType, Message,
    MessageType, ReplyEncryption, StoreEntry, StoreReply, TunnelGateway, sized,
};
use ramson_core::wire::identity::Identity;
use ramson_core::wire::lease_set::{Contents, Lease, LeaseSet2};
use ramson_core::wire::mapping::Mapping;
use ramson_core::wire::ntcp2::{self, CreatedOptions, Reason, RequestOptions};
use ramson_core::wire::payload::{Payload, Protocol};
use ramson_core::wire::router_info::RouterInfo;
use ramson_core::wire::streaming::{Flags, Nacks, Outgoing};
use ramson_core::wire::tunnel::{
    self, CELL_LEN, ID_LEN, Instructions, LONG_RECORD_LEN, LongRequest, Request, Role,
    SHORT_RECORD_LEN, payload_checksum,
};
use std::time::Duration;

const I2PD_OLD: &[u8] = include_bytes!("../tests/vectors/i2pd/router-2.45.1.info");
const I2PD_NEW: &[u8] = include_bytes!("../tests/vectors/i2pd/router-2.59.0.info");
const DESTINATIONS: &str = include_str!("../tests/vectors/i2pd/destinations.txt");
const SIGNATURES: [&str; 3] = [
    include_str!("../tests/vectors/signatures_openssl.txt"),
    include_str!("../tests/vectors/signatures_reddsa.txt"),
    include_str!("../tests/vectors/signatures_rfc8032.txt"),
];
const ZIP: &[u8] = include_bytes!("../tests/vectors/python.zip");
const UNIX: UnixTime = UnixTime::from_secs(1_800_000_000);

/// One input: for which target, under which name, and its bytes.
pub struct Sample {
    /// The target.
    pub target: &'static str,
    /// The file's name.
    pub name: String,
    /// The input.
    pub bytes: Vec<u8>,
}

/// Collects samples of one target after another.
#[derive(Default)]
struct Samples(Vec<Sample>);

impl Samples {
    fn add(&mut self, target: &'static str, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push(Sample { target, name: name.into(), bytes: bytes.into() });
    }

    /// With what `encode` appends to nothing.
    fn encoded(&mut self, target: &'static str, name: &str, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        self.add(target, name, bytes);
    }
}

/// All of them, the same each time.
#[must_use]
pub fn samples() -> Vec<Sample> {
    let mut s = Samples::default();
    names(&mut s);
    signatures(&mut s);
    netdb(&mut s);
    machines::netdb_net(&mut s);
    i2np(&mut s);
    tunnels(&mut s);
    tunnel_net(&mut s);
    machines::tunnel_ends(&mut s);
    garlic(&mut s);
    transport(&mut s);
    machines::ntcp2_pairs(&mut s);
    machines::ssu2_net(&mut s);
    ssu2::all(&mut s);
    end_to_end(&mut s);
    streams(&mut s);
    archives(&mut s);
    client(&mut s);
    connections(&mut s);
    stored(&mut s);
    s.0
}

fn rng() -> Rng {
    Rng::new(&Seed::from_number(1))
}

fn hash(n: u8) -> Hash {
    Hash([n; 32])
}

/// Destinations that i2pd made, by version and kind.
fn destinations() -> impl Iterator<Item = (String, Vec<u8>)> {
    DESTINATIONS.lines().filter(|l| !l.starts_with('#')).filter_map(|line| {
        let [version, kind, text] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        Some((format!("i2pd-{version}-{kind}"), base64::decode(text)?))
    })
}

fn names(s: &mut Samples) {
    for (name, bytes) in destinations().take(7) {
        s.add("certificate", name.as_str(), &bytes[384..]);
        s.add("identity", name, bytes);
    }
    let ours = test_destination().0.as_bytes();
    s.add("identity", "ours", ours);
    s.add("identity", "ours-and-more", [ours, b"more"].concat());
    // A certificate of certificates, and lengths at their ends.
    for (name, certificate) in [
        ("null", &[0, 0, 0][..]),
        ("null-with-payload", &[0, 0, 1, 0]),
        ("hashcash", &[1, 0, 3, b'1', b':', b'2']),
        ("hidden", &[2, 0, 0]),
        ("signed", &[&[3, 0, 40][..], &[0; 40]].concat()),
        ("multiple", &[4, 0, 7, 0, 0, 0, 5, 0, 1, 0]),
        ("multiple-cut", &[4, 0, 3, 5, 0, 1]),
        ("key", &[5, 0, 4, 0, 7, 0, 4]),
        ("unknown-key", &[5, 0, 4, 0xff, 0xff, 0, 4]),
        ("unknown", &[6, 0, 0]),
        ("long", &[1, 0xff, 0xff]),
    ] {
        s.add("certificate", name, certificate);
        s.add("identity", format!("certificate-{name}"), [&ours[..384], certificate].concat());
    }
    let mut mapping = Mapping::new();
    for (key, value) in [("host", "10.0.0.1"), ("port", "9"), ("caps", "PfR"), ("", ""), ("ü", "x")]
    {
        mapping.insert(key, value).unwrap();
    }
    s.encoded("mapping", "some", |out| mapping.encode(out));
    s.encoded("mapping", "empty", |out| Mapping::new().encode(out));
    s.add("mapping", "twice-and-unsorted", b"\0\x12\x01b=\x011;\x01a=\x012;\x01b=\x013;");
    s.add("mapping", "no-separator", b"\0\x06\x01b-\x011;");
    s.add("mapping", "size-too-large", b"\xff\xff\x01b=\x011;");
    for kind in [0, 1, 2, 3, 7, 11, 99] {
        let block = offline_block(kind);
        s.add("offline", format!("type-{kind}"), block);
    }
    let key = elligator2::KeyPair::generate(&mut rng()).unwrap();
    s.add("elligator2_key", "ours", key.encoded);
    s.add("elligator2_key", "zero", [0; 32]);
    s.add("elligator2_key", "ones", [0xff; 32]);
    s.add("elligator2_key", "minus-one", [&[0xec][..], &[0xff; 30], &[0x7f]].concat());
    for (name, text) in [
        ("b32", "udhdrtrhgdjvxyz7bmhzd34ryylnxsbgl4suzvvqv5jjj5jjjjjq.b32.i2p"),
        ("upper", "UDHDRTRHGDJVXYZ7BMHZD34RYYLNXSBGL4SUZVVQV5JJJ5JJJJJQ.B32.I2P"),
        ("short", "aaaa.b32.i2p"),
        ("blinded", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b32.i2p"),
        ("suffix", ".b32.i2p"),
        ("text", "mzxw6ytboi"),
        ("stray-bits", "mzxw6ytboj"),
        ("not-ascii", "ä.b32.i2p"),
    ] {
        s.add("base32_text", name, text);
    }
    for (name, text) in [
        ("padded", "AAECAwQFBgcICQoLDA0ODw=="),
        ("unpadded", "AAECAwQFBgcICQoLDA0ODw"),
        ("alphabet", "--~~"),
        ("other-alphabet", "++//"),
        ("array", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        ("stray-bits", "AB=="),
        ("padding-alone", "=="),
        ("padding-inside", "AA==AA=="),
    ] {
        s.add("base64_text", name, text);
    }
}

/// The first byte (the signer), and a block with an Ed25519 transient key.
fn offline_block(signer: u8) -> Vec<u8> {
    let len = crate::targets::signature_type(signer).signature_len().unwrap_or(64);
    let mut block = vec![signer];
    block.extend(UNIX.as_secs().to_be_bytes());
    block.extend([0, 7]);
    block.extend(test_destination().1.public().as_bytes());
    block.resize(block.len() + len, 0x11);
    block
}

fn hex(text: &str) -> Vec<u8> {
    let text = if text == "-" { "" } else { text };
    let digits = text.as_bytes().chunks(2).filter_map(|d| std::str::from_utf8(d).ok());
    digits.filter_map(|d| u8::from_str_radix(d, 16).ok()).collect()
}

fn signatures(s: &mut Samples) {
    let mut seen = [0; 16];
    for line in SIGNATURES.iter().flat_map(|file| file.lines()).filter(|l| !l.starts_with('#')) {
        let Ok([kind, key, message, signature]) =
            <[&str; 4]>::try_from(line.split(' ').collect::<Vec<_>>())
        else {
            continue;
        };
        let kind: u8 = kind.parse().unwrap();
        let n = &mut seen[usize::from(kind)];
        *n += 1;
        if *n <= 3 {
            let bytes = [&[kind, 3][..], &hex(key), &hex(signature), &hex(message)].concat();
            s.add("signature", format!("type-{kind}-{n}"), bytes);
        }
    }
    for kind in [0, 1, 2, 3, 7, 8, 11] {
        for (name, byte) in [("zeros", 0), ("ones", 0xff)] {
            let mut bytes = vec![byte; 400];
            bytes[0] = kind;
            s.add("signature", format!("type-{kind}-{name}"), bytes);
        }
    }
}

fn lease_set(leases: usize, keys: &[(u16, &[u8])]) -> StoreEntry {
    let (identity, key) = test_destination();
    let lease = |n| Lease {
        gateway: hash(n as u8),
        tunnel: n as u32 + 1,
        expires: UNIX + Duration::from_secs(600),
    };
    let leases: Vec<_> = (0..leases).map(lease).collect();
    let mut options = Mapping::new();
    options.insert("_smtp._tcp", "1 0 25").unwrap();
    let contents = Contents {
        published: UNIX,
        expires: UNIX + Duration::from_secs(600),
        keys,
        leases: &leases,
        options: &options,
        unpublished: false,
    };
    StoreEntry::LeaseSet(LeaseSet2::build(identity, &contents, key).unwrap())
}

fn netdb(s: &mut Samples) {
    s.add("router_info", "i2pd-2.45.1", I2PD_OLD);
    s.add("router_info", "i2pd-2.59.0", I2PD_NEW);
    s.add("router_info", "ours", router_info().as_bytes());
    let x25519_key = [9; 32];
    let sets = [
        ("one-lease", lease_set(1, &[(4, &x25519_key)])),
        ("no-lease", lease_set(0, &[(4, &x25519_key)])),
        ("many", lease_set(16, &[(4, &x25519_key), (0, &[1; 256]), (99, b"")])),
    ];
    for (name, entry) in &sets {
        let StoreEntry::LeaseSet(set) = entry else { continue };
        s.add("lease_set", *name, [&[set.store_type()], set.as_bytes()].concat());
    }
    let destination = test_destination().0.as_bytes();
    let lease = [&hash(1).0[..], &7u32.to_be_bytes(), &[0, 0, 1, 0x90, 0, 0, 0, 0]].concat();
    let head = |flags: u8| [&UNIX.as_secs().to_be_bytes()[..], &[2, 0x58, 0, flags]].concat();
    let offline = &offline_block(7)[1..];
    for (name, parts) in [
        ("v1", &[&[1][..], destination, &[1; 256], &[2; 32], &[1], &lease, &[0; 64]][..]),
        ("offline", &[&[3], destination, &head(1), offline, &[0, 0, 1, 0, 4, 0, 0, 0], &[0; 64]]),
        ("meta", &[&[7], destination, &head(2), &[0, 0, 1], &lease[..40], &[0], &[0; 64]]),
        ("encrypted", &[&[5, 0, 11], &[3; 32], &head(0), &[0, 61], &[4; 61], &[0; 64]]),
        ("too-many-leases", &[&[3], destination, &head(0), &[0, 0, 0, 255]]),
        ("unknown", &[&[9], destination]),
    ] {
        s.add("lease_set", name, parts.concat());
    }
    let replies = [
        None,
        Some(StoreReply { token: 5, tunnel: None, gateway: hash(1) }),
        Some(StoreReply { token: 6, tunnel: Some(7), gateway: hash(1) }),
    ];
    let [(_, set), ..] = sets;
    for (n, reply) in replies.into_iter().enumerate() {
        let store = DatabaseStore { reply, entry: set.clone() };
        s.encoded("database_store", &format!("lease-set-{n}"), |out| store.encode(out));
        let entry = StoreEntry::RouterInfo(RouterInfo::decode(I2PD_OLD).unwrap());
        let store = DatabaseStore { reply, entry };
        s.encoded("database_store", &format!("router-info-{n}"), |out| store.encode(out));
    }
    let bomb = gzip::gzip(&vec![0; 60_000]);
    let len = (bomb.len() as u16).to_be_bytes();
    let bomb = [&hash(1).0[..], &[0; 5], &len, &bomb].concat();
    s.add("database_store", "bomb", bomb);
    let encryptions = [
        ("plain", ReplyEncryption::None),
        ("ecies", ReplyEncryption::Ecies { key: Key32::new([5; 32]), tag: [6; 8] }),
        ("elgamal", ReplyEncryption::ElGamal { key: Key32::new([5; 32]), tags: vec![[7; 32]; 3] }),
    ];
    for (n, (name, encryption)) in encryptions.into_iter().enumerate() {
        let kind = [LookupType::LeaseSet, LookupType::RouterInfo, LookupType::Exploration][n];
        let (reply_tunnel, exclude) = ((n > 0).then_some(9), vec![hash(3); n]);
        let lookup =
            DatabaseLookup { key: hash(1), from: hash(2), reply_tunnel, kind, exclude, encryption };
        s.encoded("database_lookup", name, |out| lookup.encode(out));
    }
    s.add("database_lookup", "too-many", [&[1; 64][..], &[0, 2, 1], &[0; 64]].concat());
    for n in [0, 3, 16] {
        let reply = DatabaseSearchReply { key: hash(1), peers: vec![hash(4); n], from: hash(2) };
        s.encoded("database_search_reply", &n.to_string(), |out| reply.encode(out));
    }
    // As it is stored: version, date, four tallies, two latencies, pause, failures, last success.
    let head = [1u32.to_be_bytes(), UNIX.as_secs().to_be_bytes()].concat();
    let date = (UNIX - Duration::from_secs(3600)).as_millis().to_be_bytes();
    let numbers = [3000u32, 1000, 0, 9000, 1, 1, 500, 500, 250, 900, 60_000];
    let numbers: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
    let whole = [&head[..], &[1], &date, &numbers, &[3], &date].concat();
    s.add("profile", "cut", &whole[..whole.len() - 1]);
    s.add("profile", "future", [&head[..], &[1], &[0xff; 8], &numbers, &[3], &[0xff; 8]].concat());
    s.add("profile", "other-version", [&head[..], &[9], &date, &numbers, &[3], &date].concat());
    s.add("profile", "whole", whole);
}

fn router_info() -> RouterInfo {
    let keys = RouterKeys::generate(&mut rng());
    let mut options = Mapping::new();
    options.insert("caps", "XfR").unwrap();
    options.insert("netId", "2").unwrap();
    options.insert("router.version", "0.9.67").unwrap();
    RouterInfo::build(&keys.identity, UNIX, &[], &options, &keys.signing)
}

fn i2np_message(kind: MessageType, len: usize) -> Message {
    let expires = UNIX + Duration::from_secs(60);
    Message { kind, id: 0x0102_0304, expires, body: vec![0x5a; len] }
}

fn i2np(s: &mut Samples) {
    for len in [0, 1, 100, 1028] {
        let message = i2np_message(MessageType::DATA, len);
        s.encoded("message", &format!("short-{len}"), |out| message.encode_short(out));
        s.encoded("message", &format!("full-{len}"), |out| message.encode_full(out).unwrap());
        s.encoded("tunnel_gateway", &len.to_string(), |out| {
            TunnelGateway::encode(7, &message, out).unwrap();
        });
        s.encoded("sized_body", &len.to_string(), |out| sized::encode(&message.body, out));
    }
    s.add("sized_body", "too-long", [0xff; 8]);
    s.add("tunnel_gateway", "not-a-message", b"\0\0\0\x01\0\x03abc");
    let status = DeliveryStatus { id: 1, time: UNIX };
    s.encoded("delivery_status", "one", |out| status.encode(out));
    s.add("delivery_status", "trailing", [1; 13]);
}

fn tunnels(s: &mut Samples) {
    let deliveries = [
        tunnel::Delivery::Local,
        tunnel::Delivery::Router(hash(1)),
        tunnel::Delivery::Tunnel { gateway: hash(2), tunnel: 3 },
    ];
    let mut all = Vec::new();
    for (n, delivery) in deliveries.into_iter().enumerate() {
        for fragmented in [None, Some(9)] {
            Instructions::First { delivery, fragmented }.encode(5, &mut all);
            all.extend(b"hello");
        }
        let last = n == 2;
        Instructions::FollowOn { message: 9, number: n as u8 + 1, last }.encode(3, &mut all);
        all.extend(b"end");
    }
    s.add("delivery_instructions", "each", all.as_slice());
    s.add("delivery_instructions", "delay", [0x10; 8]);
    s.add("delivery_instructions", "fragment-zero", [0x80; 8]);
    s.add("delivery_instructions", "too-long", [0, 0xff, 0xff, 1]);
    s.add("tunnel_message", "payload", [&[7; 16][..], &all].concat());
    let mut cell = vec![0; ID_LEN];
    cell.extend([7; 16]);
    cell.extend(payload_checksum(&all, &[7; 16]));
    cell.resize(CELL_LEN - all.len() - 1, 1);
    cell.push(0);
    cell.extend(&all);
    s.add("tunnel_message", "cell", cell);
    s.add("tunnel_message", "no-zero", vec![1; CELL_LEN]);
    s.add("tunnel_message", "zeros", vec![0; CELL_LEN]);
    for (name, role) in
        [("gateway", Role::Gateway), ("middle", Role::Participant), ("endpoint", Role::Endpoint)]
    {
        let request = Request {
            receive_tunnel: 1,
            next_tunnel: 2,
            next: hash(3),
            role,
            layer: 0,
            minutes: UNIX.as_secs() / 60,
            lifetime: 600,
            next_message: 4,
        };
        s.add("short_build_record", name, request.encode_short());
        let key = || Key32::new([6; 32]);
        let long = LongRequest {
            request,
            layer_key: key(),
            iv_key: key(),
            reply_key: key(),
            reply_iv: [8; 16],
        };
        s.add("long_build_record", name, long.encode());
    }
    let message = |count: usize, len: usize| [&[count as u8][..], &vec![5; count * len]].concat();
    s.add("short_build_record", "message-4", message(4, SHORT_RECORD_LEN));
    s.add("short_build_record", "message-9", message(9, SHORT_RECORD_LEN));
    s.add("long_build_record", "message-2", message(2, LONG_RECORD_LEN));
}

/// Operations as `tunnel_ops` reads them: send, deliver, damage, wait.
fn tunnel_net(s: &mut Samples) {
    let wait = |ms: u16| [&[14][..], &(ms / 2).to_be_bytes()].concat();
    let send = |n: u16, to: u8| [&[to << 4][..], &n.to_be_bytes()].concat();
    let exchange = [&send(900, 0)[..], &[3], &send(5000, 0), &[3], &send(30, 4), &[3]].concat();
    let build = [&[3][..], &wait(500)].concat().repeat(8);
    for length in 0..4 {
        let sample = [&[length << 1 | 1][..], &exchange].concat();
        s.add("tunnel_ops", format!("built-{length}"), sample);
        let sample = [&[length << 1][..], &build, &exchange].concat();
        s.add("tunnel_ops", format!("build-{length}"), sample);
    }
    let (cell, twice) = ([8, 0, 0x10, 0, 3], [0x16, 0, 0x16, 0, 6, 0]);
    let one = send(900, 0);
    s.add("tunnel_ops", "damaged", [&[3][..], &one, &cell, &one, &cell, &exchange].concat());
    s.add("tunnel_ops", "twice", [&[5][..], &one, &twice, &one, &twice, &exchange].concat());
    let late = [&[7][..], &send(9000, 0), &[6, 9, 6, 3, 6, 7, 13], &wait(30_000), &exchange];
    s.add("tunnel_ops", "fragments-lost", late.concat());
    let damage: Vec<u8> = [8, 0, 1, 0, 3, 0x0e, 0, 250].repeat(6);
    s.add("tunnel_ops", "damaged-builds", [&[6][..], &damage, &build].concat());
    s.add("tunnel_ops", "cut", [&[2, 10, 0, 0, 100, 3][..], &build].concat());
    let forged = |kind: u8, len: u16| {
        [&[kind << 5 | 12, 2][..], &[0, 0, 0, 9], &len.to_be_bytes(), &[]].concat()
    };
    let all: Vec<u8> = (0..8).flat_map(|kind| forged(kind, 1 + 218 * 4)).collect();
    s.add("tunnel_ops", "forged", [&[3][..], &all, &forged(0, 1028), &forged(4, 4225)].concat());
}

fn garlic(s: &mut Samples) {
    let clove = |delivery| Clove { delivery, message: i2np_message(MessageType::DATA, 20) };
    let next = |key| NextKey { id: 1, key, reverse: true, request_reverse: false };
    let blocks = [
        ("date", Block::DateTime(UNIX)),
        ("end", Block::Termination { reason: 1, data: b"why" }),
        ("options", Block::Options(b"12345678901234567890")),
        ("number", Block::PreviousNumber(65_535)),
        ("next-key", Block::NextKey(next(Some(x25519::PublicKey([9; 32]))))),
        ("next-key-kept", Block::NextKey(next(None))),
        ("ack", Block::Ack(vec![MessageNumber { set: 1, index: 2 }; 3])),
        ("ack-request", Block::AckRequest),
        ("local", Block::Clove(clove(Delivery::Local))),
        ("destination", Block::Clove(clove(Delivery::Destination(hash(1))))),
        ("router", Block::Clove(clove(Delivery::Router(hash(2))))),
        ("tunnel", Block::Clove(clove(Delivery::Tunnel { gateway: hash(3), tunnel: 4 }))),
        ("padding", Block::Padding(9)),
        ("unknown", Block::Unknown { kind: 77, data: b"future" }),
    ];
    let mut all = Vec::new();
    for (name, block) in &blocks {
        s.encoded("garlic_blocks", name, |out| block.encode(out).unwrap());
        block.encode(&mut all).unwrap();
    }
    let date_and = |block: &Block<'_>| {
        let mut out = Vec::new();
        Block::DateTime(UNIX).encode(&mut out).unwrap();
        block.encode(&mut out).unwrap();
        out
    };
    for target in ["garlic_blocks", "garlic_router", "garlic_reply"] {
        s.add(target, "all", all.as_slice());
        s.add(target, "padding-first", [&[254, 0, 0][..], &all].concat());
        s.add(target, "tag-and-message", date_and(&blocks[8].1));
        s.add(target, "nested", {
            let message = i2np_message(MessageType::GARLIC, 40);
            date_and(&Block::Clove(Clove { delivery: Delivery::Local, message }))
        });
        s.add(target, "many-cloves", {
            let message = i2np_message(MessageType::DATA, 0);
            let mut one = Vec::new();
            Clove { delivery: Delivery::Local, message }.encode_block(&mut one).unwrap();
            one.repeat(33)
        });
    }
    // Operations as `ratchet_ops` reads them: send, deliver, bind, wait, damage.
    let (alice, bob) = (0x00, 0x80);
    let wait = |ms: u16| [&[0x0e][..], &(ms / 20).to_be_bytes()].concat();
    let open = [&[1, alice, 5, 0x04, 0, bob | 13][..], &[bob, 9, bob | 4, 0]].concat();
    s.add("ratchet_ops", "handshake", open.as_slice());
    let talk: Vec<u8> = [alice | 0x20, 30, 4, 0, bob | 0x20, 40, bob | 4, 0].repeat(8);
    s.add("ratchet_ops", "talk", [&open[..], &talk, &wait(3000), &talk].concat());
    let damage: Vec<u8> = [alice, 30, 9, 0, 0, 90, 9, 0, 0, 200, 4, 0].repeat(5);
    s.add("ratchet_ops", "damage", [&open[..], &damage].concat());
    let reorder: Vec<u8> = [alice, 9, alice, 9, alice, 9, 4, 2, 0x44, 1, 4, 1, 4, 0].repeat(5);
    s.add("ratchet_ops", "reorder", [&open[..], &reorder].concat());
    s.add("ratchet_ops", "one-time", [3, 0x40, 9, 4, 0, 0x40, 9, 0x44, 0, 4, 0]);
    let lost: Vec<u8> = [&[alice, 9, 12][..], &wait(20_000)].concat().repeat(6);
    s.add("ratchet_ops", "lost", [&open[..], &lost, &open[1..]].concat());
    s.add("ratchet_ops", "garbage", [&[2, 11, 120][..], &[0x33; 120], &[11, 3, 1, 2, 3]].concat());
    // The seed, then operations as `world_ops` reads them: what, and with whom and how much.
    s.add("world_ops", "crash-and-fetch", [1, 1, 3, 10, 8, 0, 80, 3, 3, 10, 9]);
    s.add("world_ops", "parted-and-frozen", [2, 5, 1, 4, 162, 0, 240, 11, 0, 10, 12]);
    s.add("world_ops", "clock-and-weather", [3, 7, 250, 8, 101, 10, 8, 2, 4, 0, 60]);
}

fn transport(s: &mut Samples) {
    let mut all = Vec::new();
    ntcp2::put_date_time(&mut all, UNIX.as_secs());
    all.extend([1, 0, 12, 0, 16, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0]);
    ntcp2::put_router_info(&mut all, true, router_info().as_bytes()).unwrap();
    ntcp2::put_message(&mut all, &i2np_message(MessageType::TUNNEL_DATA, 40)).unwrap();
    all.extend([77, 0, 2, 1, 2]);
    ntcp2::put_termination(&mut all, 3, Reason::Idle);
    s.add("ntcp2_blocks", "after-termination", [&all[..], &[0, 0, 4, 0, 0, 0, 0]].concat());
    ntcp2::put_padding(&mut all, 7);
    s.add("ntcp2_blocks", "all", all.as_slice());
    s.add("ntcp2_blocks", "after-padding", [&all[..], &[0, 0, 4, 0, 0, 0, 0]].concat());
    s.add("ntcp2_blocks", "too-long", [3, 0xff, 0xff, 1]);
    let request =
        RequestOptions { net_id: 2, version: 2, padding: 30, confirmed: 900, timestamp: 7 };
    s.encoded("ntcp2_options", "request", |out| request.encode(out));
    let created = CreatedOptions { padding: 30, timestamp: 7 };
    s.encoded("ntcp2_options", "created", |out| created.encode(out));
    s.add("ntcp2_options", "long", [0; 17]);
    for len in [0, 1, 16, 64, 300] {
        let bytes: Vec<u8> = (0..44 + 1 + 5 + len).map(|n| n as u8).collect();
        s.add("aead_providers", len.to_string(), bytes);
    }
    for target in ["ntcp2_initiator", "ntcp2_responder"] {
        let exchange: Vec<u8> = [2, 7].repeat(4);
        let talk = [9, 0, 100, 9, 0x40, 0, 11, 3, 0, 2, 7];
        s.add(target, "whole", [&[0][..], &exchange, &talk].concat());
        s.add(
            target,
            "small-pieces",
            [&[0][..], &[0x22, 3, 0x17, 5].repeat(20), &exchange].concat(),
        );
        s.add(target, "established", [&[1][..], &talk.repeat(4)].concat());
        s.add(target, "one-byte-at-a-time", [&[1, 9, 0, 60][..], &[0x22, 1].repeat(40)].concat());
        s.add(target, "damaged", [1, 9, 0, 60, 5, 0, 40, 1, 2, 12, 2, 0, 7]);
        s.add(target, "damaged-length", [1, 9, 0, 60, 5, 0, 0, 1, 2, 12, 2, 0, 7, 9, 1, 0, 2]);
        s.add(target, "played-twice", [1, 9, 0, 60, 0x42, 9, 0, 60, 2]);
        s.add(target, "lost", [1, 9, 0, 60, 5, 0, 0, 0, 6, 20, 2, 9, 0, 60, 2]);
        s.add(target, "garbage", [&[0, 1, 1, 0][..], &[0x77; 256], &[12, 0x10, 0]].concat());
        s.add(target, "garbage-inside", [&[1, 0, 60][..], &[0x77; 60], &[12, 0x10, 0, 7]].concat());
        s.add(target, "damaged-handshake", [0, 2, 7, 5, 0, 3, 1, 2, 7, 12, 0x10, 0, 2, 7]);
        s.add(target, "silence", [0, 2, 12, 0xff, 0xff, 7, 2]);
        s.add(target, "stalled", [1, 11, 0x40, 0, 12, 0x20, 0, 12, 0x20, 0, 7]);
        s.add(target, "closed", [1, 0x3e, 3, 7, 2]);
        s.add(target, "closed-by-peer", [1, 0x1e, 2, 7, 11, 0, 9]);
        s.add(target, "disconnected", [1, 9, 0, 60, 0x3f, 2, 7]);
        s.add(target, "router-info", [1, 13, 7, 0x1d, 11, 0, 90, 0x17, 9, 0x17, 99, 7]);
        let early = [&[0, 11, 1, 0, 9, 1, 0, 13][..], &exchange];
        s.add(target, "queued-early", early.concat());
    }
}

fn end_to_end(s: &mut Samples) {
    let (us, key) = test_destination();
    let recipient = hash(7);
    let packets = [
        (
            "syn",
            Outgoing {
                receive_stream: 5,
                flags: Flags::SYNCHRONIZE,
                nacks: Nacks::Recipient(&recipient),
                delay: Some(100),
                from: Some(us),
                max_size: Some(1812),
                sign: Some(key),
                payload: [b"GET / HTTP/1.1", b""],
                ..Outgoing::default()
            },
        ),
        (
            "data",
            Outgoing {
                send_stream: 4,
                receive_stream: 5,
                sequence: 1,
                ack_through: 9,
                nacks: Nacks::Missing(&[2, 4, 6]),
                payload: [b"hello ", b"world"],
                ..Outgoing::default()
            },
        ),
        (
            "ack",
            Outgoing { send_stream: 4, receive_stream: 5, ack_through: 3, ..Outgoing::default() },
        ),
        ("choke", Outgoing { send_stream: 4, delay: Some(61_000), ..Outgoing::default() }),
        (
            "close",
            Outgoing {
                send_stream: 4,
                receive_stream: 5,
                sequence: 3,
                flags: Flags::CLOSE,
                sign: Some(key),
                ..Outgoing::default()
            },
        ),
        (
            "reset",
            Outgoing {
                flags: Flags::RESET.with(Flags::NO_ACK),
                from: Some(us),
                sign: Some(key),
                ..Outgoing::default()
            },
        ),
        (
            "ping",
            Outgoing {
                send_stream: 1,
                flags: Flags::ECHO,
                from: Some(us),
                sign: Some(key),
                ..Outgoing::default()
            },
        ),
    ];
    for (name, packet) in packets {
        s.encoded("streaming_packet", name, |out| packet.encode(out));
    }
    let offline = &offline_block(7)[1..];
    let size = ((us.as_bytes().len() + offline.len() + 64) as u16).to_be_bytes();
    let head = [&[0; 16][..], &[0, 0, 0x08, 0x29], &size].concat();
    let packet = [&head[..], us.as_bytes(), offline, &[1; 64], b"data"].concat();
    s.add("streaming_packet", "offline", packet);
    let alone = [&[0; 16][..], &[0, 0, 0x08, 0, 0, 4, 1, 2, 3, 4]].concat();
    s.add("streaming_packet", "offline-without-from", alone);
    s.add("streaming_packet", "all-nacks", [&[0; 16][..], &[255], &[1; 1020], &[0; 5]].concat());
    let mut options = Mapping::new();
    options.insert("k", "v").unwrap();
    for (kind, options) in [(0, Mapping::new()), (1, options)] {
        s.encoded("datagrams", &format!("first-{kind}"), |out| {
            out.push(17);
            let signature = key.sign(b"payload");
            let (from, payload) = (us.clone(), &b"payload"[..]);
            Datagram1 { from, signature: &signature, payload }.encode(out);
        });
        s.encoded("datagrams", &format!("second-{kind}"), |out| {
            let mut signed = Vec::new();
            Datagram2::encode_signed(&options, None, b"payload", &mut signed);
            let signature = key.sign(&[&us.hash().0[..], &signed].concat());
            out.extend([&[19], us.as_bytes(), &signed, &signature].concat());
        });
        s.encoded("datagrams", &format!("third-{kind}"), |out| {
            out.push(20);
            Datagram3 { from: hash(1), options, payload: b"payload" }.encode(out);
        });
    }
    let second = [&[19][..], us.as_bytes(), &[0, 0x22], offline, b"payload", &[1; 64]].concat();
    s.add("datagrams", "second-offline", second);
    s.add("datagrams", "raw", b"\x12raw");
}

/// Operations as `streaming_ops` reads them: connect, write, deliver, read, close, wait.
fn streams(s: &mut Samples) {
    let (all_there, all_back) = ([0x75, 0], [0xf5, 0]);
    let wait = |ms: u16| [&[14][..], &(ms * 2).to_be_bytes()].concat();
    let write = |n: u16| [&[1][..], &n.to_be_bytes()].concat();
    let read_there = [0x83, 0xff, 0xff];
    let round = [&all_there[..], &wait(50), &all_back, &read_there, &wait(50)].concat();
    let hello = [&[0][..], &write(100), &round].concat();
    let data = [&write(9000), &round[..], &round, &round].concat();
    let close = [&[0x0b][..], &round, &[0x8b], &round, &round].concat();
    s.add("streaming_ops", "whole", [&[0][..], &hello, &data, &close].concat());
    let lost = [&write(9000)[..], &[0x0c], &wait(9000), &round, &wait(9000), &round].concat();
    s.add("streaming_ops", "lost", [&[0][..], &hello, &lost, &lost, &close].concat());
    let late = [&write(9000)[..], &[0x05, 3, 0x08, 2, 0x06, 1, 0x08, 0], &round].concat();
    s.add("streaming_ops", "reordered", [&[0][..], &hello, &late, &late, &close].concat());
    let damaged = [&write(2000)[..], &[9, 0, 0, 170, 9, 0, 0, 9, 9, 0, 1, 0], &round].concat();
    s.add("streaming_ops", "damaged", [&[1][..], &hello, &damaged, &damaged].concat());
    s.add("streaming_ops", "refused", [&[0, 0x40][..], &round, &round].concat());
    s.add("streaming_ops", "reset", [&[0][..], &hello, &[0x3b], &round].concat());
    s.add("streaming_ops", "silence", [&[0, 0][..], &wait(30_000).repeat(4)].concat());
    let full: Vec<u8> = [&write(19_000)[..], &all_there, &wait(20), &all_back].concat().repeat(9);
    s.add("streaming_ops", "full", [&[0][..], &hello, &full, &round].concat());
    s.add("streaming_ops", "crossing", [&[0, 0, 0x80][..], &write(10), &round, &close].concat());
}

fn archives(s: &mut Samples) {
    let text: Vec<u8> = b"to be or not to be ".repeat(20);
    for (name, data) in [("empty", &b""[..]), ("text", &text), ("zeros", &[0; 3000])] {
        let max = (data.len() as u16).to_be_bytes();
        s.add("gunzip", name, [&max[..], &gzip::gzip(data)].concat());
        s.add("inflate", name, [&max[..], &gzip::deflate(data)].concat());
        let payload = Payload {
            from_port: 80,
            to_port: 4000,
            protocol: Protocol::STREAMING,
            data: data.to_vec(),
        };
        s.encoded("payload", name, |out| payload.encode_compressed(out));
        s.encoded("payload", &format!("{name}-stored"), |out| payload.encode(out));
    }
    let bomb = gzip::gzip(&vec![0; 1 << 20]);
    s.add("gunzip", "bomb", [&[0xff, 0xff][..], &bomb].concat());
    s.add("payload", "bomb", bomb);
    s.add("inflate", "bomb", [&[0xff, 0xff][..], &gzip::deflate(&vec![0; 1 << 20])].concat());
    let mut parts = gzip::gzip(b"x");
    // Extra field, name, comment and header CRC.
    parts[3] = 0x1e;
    parts.splice(10..10, *b"\x02\0exname\0comment\0hc");
    s.add("gunzip", "all-header-parts", [&[0, 9][..], &parts].concat());
    // Two stored blocks, then one with a length that does not fit its complement.
    s.add("inflate", "stored", [0, 9, 0, 1, 0, 0xfe, 0xff, b'a', 1, 1, 0, 0xfe, 0xff, b'b']);
    s.add("inflate", "stored-wrong", [0, 9, 1, 1, 0, 0xfe, 0xfe, b'a']);
    s.add("zip_archive", "python", ZIP);
    s.add("zip_archive", "empty", [&b"PK\x05\x06"[..], &[0; 18]].concat());
}

fn client(s: &mut Samples) {
    let request =
        "GET http://example.i2p/a?b HTTP/1.1\r\nHost: example.i2p\r\nConnection: x, close\r\n\r\n";
    for (name, text) in [
        ("get", request),
        ("post", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"),
        ("chunked", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("both", "POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"),
        ("two-lengths", "POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n"),
        ("connect", "CONNECT example.i2p:443 HTTP/1.1\r\nHost: example.i2p\r\n\r\n"),
        ("http10", "GET / HTTP/1.0\r\n\r\n"),
        ("bare-lf", "GET / HTTP/1.1\nHost: a\n\n"),
        ("folded", "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n"),
        ("blank-lines-first", "\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
        ("underscore", "GET / HTTP/1.1\r\nContent_Length: 1\r\n\r\n"),
        ("blank-before-colon", "GET / HTTP/1.1\r\nContent-Length : 1\r\n\r\n"),
    ] {
        for pieces in [0, 6] {
            s.add(
                "http_head",
                format!("{name}-{pieces}"),
                [&[pieces][..], text.as_bytes()].concat(),
            );
        }
    }
    for (name, text) in [
        ("ok", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
        ("until-close", "HTTP/1.0 200\nServer: x\n\nabc"),
        ("no-content", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("folded", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n"),
        ("chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"),
        ("status", "HTTP/1.1 600 What\r\n\r\n"),
    ] {
        s.add("http_head", format!("response-{name}"), [b"\x07", text.as_bytes()].concat());
    }
    for (name, text) in [
        ("chunks", "5\r\nhello\r\n6;ext=\"x\"\r\n world\r\n0\r\nTrailer: x\r\n\r\nrest"),
        ("padded-size", "5  \r\nhello\r\n0\r\n\r\n"),
        ("huge", "ffffffffffffffff\r\nx"),
        ("larger-than-any", "10000000000000000\r\nx"),
        ("negative", "-5\r\nhello\r\n0\r\n\r\n"),
        ("no-line-end", "5\r\nhello0\r\n\r\n"),
    ] {
        for mode in [0x00, 0x01, 0x10] {
            s.add(
                "http_body",
                format!("{name}-{mode:02x}"),
                [&[mode][..], text.as_bytes()].concat(),
            );
        }
    }
    s.add("http_body", "length", b"\x04\x05hello rest");
    s.add("http_body", "length-cut", b"\x14\x09hello");
    s.add("http_body", "until-close", b"\x0fhello");
}

fn connections(s: &mut Samples) {
    let local =
        |text: &str| [&[0][..], &(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
    let stream =
        |text: &str| [&[3][..], &(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
    let (opened, remote_closed, local_closed) = (vec![5], vec![6], vec![8]);
    let b32 = test_destination().0.b32_address();
    let get = local(&format!("GET http://{b32}/ HTTP/1.1\r\nHost: {b32}\r\nReferer: x\r\n\r\n"));
    let named = local("GET http://a.i2p/ HTTP/1.1\r\nHost: a.i2p\r\n\r\n");
    let post = local(&format!(
        "POST http://{b32}/ HTTP/1.1\r\nHost: {b32}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    ));
    let connect = local(&format!("CONNECT {b32}:443 HTTP/1.1\r\nHost: {b32}:443\r\n\r\n"));
    let answer = stream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    let long =
        stream("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let close = stream("HTTP/1.0 200 OK\r\n\r\nuntil the end");
    let (known, unknown, timeout, local_up) = (vec![0x1c], vec![0x0c], vec![15], vec![13]);
    let helper = local("GET http://a.i2p/?i2paddresshelper=x HTTP/1.1\r\nHost: a.i2p\r\n\r\n");
    let plain = local("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    let request = stream("GET / HTTP/1.1\r\nHost: x\r\nX-I2P-DestHash: forged\r\n\r\n");
    let body = stream("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
    let reply = local("HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2\r\n\r\nhi");
    for (name, kind, parts) in [
        ("proxy-get", 0, &[&get, &opened, &answer, &get, &long, &local_closed][..]),
        ("proxy-post", 0, &[&post, &opened, &local("0\r\n\r\n"), &answer]),
        ("proxy-until-close", 0, &[&get, &opened, &close, &remote_closed]),
        ("proxy-connect", 0, &[&connect, &opened, &local("abc"), &stream("def"), &remote_closed]),
        ("proxy-name", 0, &[&named, &known, &opened, &answer]),
        ("proxy-unknown-name", 0, &[&named, &unknown, &vec![7, 0]]),
        ("proxy-helper", 0, &[&helper, &known]),
        ("proxy-clearnet", 0, &[&plain, &plain]),
        ("proxy-failed", 0, &[&get, &vec![7, 1], &get, &vec![7, 4], &get, &opened, &vec![7, 6]]),
        ("proxy-timeouts", 0, &[&get, &timeout, &get, &opened, &timeout, &timeout]),
        ("proxy-pipeline", 0x80, &[&get, &get, &get, &opened, &answer, &answer]),
        ("proxy-garbage", 0, &[&local("\u{1}\u{2}\r\n\r\n")]),
        ("server-get", 1, &[&request, &local_up, &reply, &request, &reply, &remote_closed]),
        ("server-post", 1, &[&body, &local_up, &reply]),
        ("server-refused", 1, &[&request, &vec![9]]),
        ("server-broken", 1, &[&request, &local_up, &local("HTTP/1.1 2"), &vec![9]]),
        ("server-slow", 1, &[&stream("GET / HT"), &timeout]),
        ("tunnel", 2, &[&local("early"), &opened, &stream("hello"), &local_closed, &remote_closed]),
        ("tunnel-failed", 2, &[&local("early"), &vec![7, 3]]),
        ("tunnel-full", 0x82, &[&local(&"x".repeat(2000)); 3]),
        ("server-tunnel", 3, &[&stream("early"), &local_up, &local("hello"), &remote_closed]),
        ("server-tunnel-reset", 3, &[&stream("early"), &local_up, &vec![0x29]]),
    ] {
        let parts: Vec<&[u8]> = parts.iter().map(|p| p.as_slice()).collect();
        s.add("client_connection", name, [&[kind][..], &parts.concat()].concat());
    }
    let destination = test_destination().0.to_base64();
    let other = base64::encode(&destinations().next().map(|(_, d)| d).unwrap_or_default());
    for (name, text) in [
        ("one", format!("a.i2p={destination}\n")),
        ("windows", format!("\u{feff}# names\r\n\r\nA.i2p = {destination}#!date=1\r\n")),
        ("conflict", format!("a.i2p={destination}\na.i2p={other}\nb.i2p={other}\n")),
        ("bad", "a=b\n=x\na.i2p\n--.i2p=x\na.i2p=AAAA\n\u{e4}.i2p=x".into()),
        ("cut", format!("a.i2p={}", &destination[..500])),
    ] {
        s.add("hosts_file", name, text);
    }
    for (name, text) in [
        ("name", "Some-Name.example.i2p:8080"),
        ("dot", "a.i2p."),
        ("b32", b32.as_str()),
        ("base64", &format!("{destination}.i2p:1")),
        ("local", "127.0.0.1:7657"),
        ("six", "[::1]:80"),
        ("user", "user@a.i2p"),
        ("port-zero", "a.i2p:0"),
        ("no-port", "a.i2p:"),
        ("hyphens", "xn--a--b.i2p"),
        ("long", &format!("{}.i2p", "a".repeat(64))),
    ] {
        s.add("host_name", name, text);
    }
    s.add("control_request", "info", b"\xffinfo\n");
    s.add("control_request", "pieces", b"\0info\r\nmore\n");
    s.add("control_request", "without-line-end", b"\x02info");
    s.add("control_request", "unknown", b"\x09quit\n");
    s.add("control_request", "long", [b'x'; 300]);
}

fn stored(s: &mut Samples) {
    let keys = RouterKeys::generate(&mut rng());
    s.add("router_keys", "whole", keys.encode().as_slice());
    // Without the checksum, which the target adds.
    s.add("router_keys", "open", &keys.encode()[..keys.encode().len() - 32]);
    s.add("router_keys", "mismatch", {
        let mut bytes = keys.encode()[..keys.encode().len() - 32].to_vec();
        bytes[420] ^= 1;
        bytes
    });
    let keys = DestinationKeys::generate(&mut rng());
    s.add("destination_keys", "ours", keys.encode().as_slice());
    // As routers with ElGamal destinations write them.
    let key = &test_destination().1;
    let mut identity = vec![0x55; 384 - 32];
    identity.extend(key.public().as_bytes());
    identity.extend([5, 0, 4, 0, 7, 0, 0]);
    assert!(Identity::from_bytes(&identity).is_ok());
    let elgamal = [&identity[..], &[3; 256], key.seed().as_bytes()].concat();
    s.add("destination_keys", "elgamal", elgamal);
}
