//! SSU2: packets, blocks, and what is signed inside them.

use super::input::Input;
use super::test_destination;
use ramson_core::crypto::Key32;
use ramson_core::crypto::aead::TAG_LEN;
use ramson_core::wire::codec::Reader;
use ramson_core::wire::hash::Hash;
use ramson_core::wire::ssu2::{
    Ack, AckSource, Block, Blocks, Header, MAX_ACK_PAIRS, MIN_PACKET_LEN, PacketType, PeerTest,
    RelayRequest, RelayResponse, SEALED_KEY_LEN, Writer, protect,
};

/// The keys that mask headers in targets and samples.
pub(crate) fn header_keys() -> (Key32, Key32) {
    (Key32::new([1; 32]), Key32::new([2; 32]))
}

/// A packet, before its header is masked when the first byte is even, afterwards when it is odd. The payload is
/// in the clear.
pub fn ssu2_packet(data: &[u8]) {
    let mut input = Input::new(data);
    let masked = input.u8() & 1 != 0;
    let bytes = input.rest();
    let (first, second) = header_keys();
    let (mut wire, mut plain) = (bytes.to_vec(), bytes.to_vec());
    if !masked && protect::protect(&mut wire, &first, &second).is_err() {
        assert_eq!(wire, bytes);
        let known = Header::decode(&mut Reader::new(bytes)).map(|h| h.packet_type());
        assert!(known.is_err() || bytes.len() < known.unwrap().min_len());
        return;
    }
    let Ok(destination) = protect::destination(&wire, &first) else {
        assert!(masked && bytes.len() < MIN_PACKET_LEN);
        return;
    };
    let peeked = protect::peek(&wire, destination, &second);
    let before = wire.clone();
    let header = protect::unprotect(&mut wire, destination, &second);
    assert_eq!(header, peeked);
    let Ok(header) = header else {
        assert!(masked && wire == before);
        return;
    };
    if masked {
        plain.clone_from(&wire);
        protect::protect(&mut wire, &first, &second).unwrap();
        assert_eq!(wire, bytes);
    } else {
        assert_eq!(wire, plain);
    }
    assert_eq!(header.destination(), destination);
    let kind = header.packet_type();
    assert!(plain.len() >= kind.min_len());
    // What we would write differs in unused flags only.
    let mut written = Vec::new();
    header.encode(&mut written);
    assert_eq!((written.len(), header.encoded_len()), (kind.header_len(), kind.header_len()));
    assert_eq!(Header::decode(&mut Reader::new(&written)), Ok(header));
    for (at, (ours, theirs)) in written.iter().zip(&plain).enumerate() {
        let flags = 13..16;
        assert!(ours == theirs || flags.contains(&at));
    }
    let confirmed = kind == PacketType::SessionConfirmed;
    let sealed_key = if confirmed { SEALED_KEY_LEN } else { 0 };
    if let Some(payload) = plain.get(kind.protected_len() + sealed_key..plain.len() - TAG_LEN) {
        ssu2_blocks(payload);
    }
}

/// The blocks of a payload, each written again.
pub fn ssu2_blocks(data: &[u8]) {
    let mut seen = 0;
    let mut last = Ok(Block::DateTime(0));
    for block in Blocks::new(data) {
        let before = std::mem::replace(&mut last, block).unwrap();
        assert!(!matches!(before, Block::Padding(_)), "something after padding");
        let Ok(block) = block else { continue };
        let ended = matches!(before, Block::Termination { .. });
        assert!(!ended || matches!(block, Block::Padding(_)), "something after the end");
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, block.encoded_len() - 1);
        assert!(writer.put(&block).is_err() && writer.written() == 0);
        Writer::new(&mut out, block.encoded_len()).put(&block).unwrap();
        assert_eq!(out.len(), block.encoded_len());
        assert_eq!(Blocks::new(&out).collect::<Vec<_>>(), [Ok(block)]);
        let _ = block.elicits_ack();
        seen += out.len();
        if let Block::Ack(ack) = block {
            check_ack(ack);
        }
    }
    // Additional data in some blocks is not written again.
    assert!(seen <= data.len());
}

fn check_ack(ack: Ack<'_>) {
    let ranges: Vec<_> = ack.ranges().collect();
    assert!(ranges.len() <= ack.pairs.len() + 1);
    assert_eq!(ranges.first().map(|r| *r.end()), Some(ack.through));
    for (range, next) in ranges.iter().zip(ranges.iter().skip(1)) {
        assert!(!next.is_empty() && next.end() + 1 < *range.start());
    }
    for most in [0, 1, ack.pairs.len(), MAX_ACK_PAIRS] {
        let source = AckSource::new(ranges.iter().cloned(), most).unwrap();
        let ours = source.ack();
        assert!(ours.pairs.len() <= most.min(MAX_ACK_PAIRS));
        let told: Vec<_> = ours.ranges().collect();
        let (cut, whole) = told.split_last().unwrap();
        // All the same from the top down, the lowest perhaps not to its end.
        assert_eq!(*whole, ranges[..whole.len()]);
        let full = &ranges[whole.len()];
        assert!(cut.end() == full.end() && cut.start() >= full.start());
        if most == MAX_ACK_PAIRS && ack.pairs.len() <= most {
            assert_eq!(told, ranges, "we need no more pairs than others");
        }
    }
}

/// Bits 0 and 1 of the first byte: which block, the rest its content. With bit 7 it is signed anew.
pub fn ssu2_signed(data: &[u8]) {
    let mut input = Input::new(data);
    let mode = input.u8();
    let content = input.rest();
    let Ok(len) = u16::try_from(content.len()) else { return };
    let mut payload = vec![7 + (mode & 3)];
    payload.extend(len.to_be_bytes());
    payload.extend(content);
    let Some(Ok(block)) = Blocks::new(&payload).next() else { return };
    ssu2_blocks(&payload);
    assert_eq!(block.kind(), 7 + (mode & 3));
    let Some(case) = Case::of(block) else { return };
    let fields = &case.signed[16 + 32 * case.hashes..];
    let end = case.at + fields.len();
    assert_eq!(fields, &content[case.at..end], "what is signed is what was received");
    assert_eq!(case.signed[16..48], BOB.0);
    assert!(case.hashes == 1 || case.signed[48..80] == OTHER.0);
    if mode & 0x80 != 0 {
        let signature = &test_destination().1.sign(&case.signed)[..];
        assert!((case.verify)(signature));
        let own = content.get(end..).unwrap_or(&[]);
        assert!(own.starts_with(signature) || !(case.verify)(own));
    }
}

const BOB: Hash = Hash([3; 32]);
/// Alice or Charlie, whoever has her hash signed.
const OTHER: Hash = Hash([4; 32]);

type Verify<'a> = Box<dyn Fn(&[u8]) -> bool + 'a>;

/// What is signed in a block.
struct Case<'a> {
    /// Where in the content.
    at: usize,
    /// The bytes that are signed, with how many hashes behind the prologue.
    signed: Vec<u8>,
    hashes: usize,
    /// Whether another signature would do.
    verify: Verify<'a>,
}

impl<'a> Case<'a> {
    fn of(block: Block<'a>) -> Option<Self> {
        let key = &test_destination().1;
        let public = key.public();
        let ask = |at, request: RelayRequest<'a>| {
            let public = public.clone();
            let signed = request.terms.signed_bytes(&BOB, &OTHER);
            assert_eq!(request.terms.sign(&BOB, &OTHER, key), key.sign(&signed));
            let verify = Box::new(move |signature: &[u8]| {
                let request = RelayRequest { terms: request.terms, signature };
                request.verify(&BOB, &OTHER, &public).is_ok()
            });
            Some(Self { at, signed, hashes: 2, verify })
        };
        if let Block::RelayRequest(request) = block {
            ask(1, request)
        } else if let Block::RelayIntro(intro) = block {
            ask(33, intro.request)
        } else if let Block::RelayResponse(RelayResponse { code, terms, token, .. }) = block {
            let signed = terms.signed_bytes(&BOB);
            assert_eq!(terms.sign(&BOB, key), key.sign(&signed));
            let verify = Box::new(move |signature: &[u8]| {
                RelayResponse { code, terms, signature, token }.verify(&BOB, &public).is_ok()
            });
            Some(Self { at: 2, signed, hashes: 1, verify })
        } else if let Block::PeerTest(PeerTest { step, code, terms, .. }) = block {
            let at = if matches!(step.number(), 2 | 4) { 35 } else { 3 };
            let (hashes, signed) = if step.is_by_charlie() {
                (2, terms.signed_bytes(&BOB, Some(&OTHER)))
            } else {
                (1, terms.signed_bytes(&BOB, None))
            };
            let verify = Box::new(move |signature: &[u8]| {
                PeerTest { step, code, terms, signature }.verify(&BOB, &OTHER, &public).is_ok()
            });
            Some(Self { at, signed, hashes, verify })
        } else {
            None
        }
    }
}
