use super::*;
use crate::crypto::sign::SignatureType;
use crate::rng::{Rng, Seed};
use crate::wire::ssu2::{Block, Blocks, Writer};

const BOB: Hash = Hash([0xb0; 32]);
const CHARLIE: Hash = Hash([0xc0; 32]);
const ALICE: Hash = Hash([0xa0; 32]);

pub(in crate::wire::ssu2) fn random_endpoint(rng: &mut Rng) -> SocketAddr {
    let port = rng.u32() as u16;
    if rng.below(2) == 0 {
        SocketAddr::new(rng.bytes::<4>().into(), port)
    } else {
        SocketAddr::new(rng.bytes::<16>().into(), port)
    }
}

fn random_signature(rng: &mut Rng) -> Vec<u8> {
    // DSA, Ed25519, P-384, P-521.
    let mut out = alloc::vec![0; [40, 64, 96, 132][rng.index(4)]];
    rng.fill(&mut out);
    out
}

/// One of the four blocks, with random fields; its signature is put into `keep`.
pub(in crate::wire::ssu2) fn random<'a>(rng: &mut Rng, keep: &'a mut Vec<u8>) -> Block<'a> {
    *keep = random_signature(rng);
    let maybe = |rng: &mut Rng| (rng.below(3) != 0).then(|| random_endpoint(rng));
    let (nonce, timestamp, version) = (rng.u32(), rng.u32(), rng.u32() as u8);
    let terms = RelayRequestTerms {
        nonce,
        tag: rng.u32(),
        timestamp,
        version,
        alice: random_endpoint(rng),
    };
    let request = RelayRequest { terms, signature: keep };
    match rng.below(4) {
        0 => Block::RelayRequest(request),
        1 => Block::RelayIntro(RelayIntro { alice: Hash(rng.bytes()), request }),
        2 => {
            let code = if rng.below(2) == 0 { Code::ACCEPT } else { Code(rng.u32() as u8) };
            Block::RelayResponse(RelayResponse {
                code,
                terms: RelayResponseTerms { nonce, timestamp, version, charlie: maybe(rng) },
                signature: keep,
                token: (code == Code::ACCEPT).then(|| rng.u64()),
            })
        }
        _ => {
            let step = match rng.below(7) {
                0 => PeerTestStep::AliceToBob,
                1 => PeerTestStep::BobToCharlie(Hash(rng.bytes())),
                2 => PeerTestStep::CharlieToBob,
                3 => PeerTestStep::BobToAlice(Hash(rng.bytes())),
                4 => PeerTestStep::CharlieToAlice,
                5 => PeerTestStep::AliceToCharlie,
                _ => PeerTestStep::CharlieToAliceAgain,
            };
            let none = step.number() > 4 && rng.below(2) == 0;
            let signature = if none { &[] } else { &keep[..] };
            let terms = PeerTestTerms { version, nonce, timestamp, alice: maybe(rng) };
            Block::PeerTest(PeerTest { step, code: Code(rng.u32() as u8), terms, signature })
        }
    }
}

fn request() -> RelayRequestTerms {
    RelayRequestTerms {
        nonce: 0x0102_0304,
        tag: 0x0506_0708,
        timestamp: 0x090a_0b0c,
        version: 2,
        alice: "192.0.2.1:4660".parse().unwrap(),
    }
}

fn response(charlie: Option<&str>) -> RelayResponseTerms {
    RelayResponseTerms {
        nonce: 0x0102_0304,
        timestamp: 0x0506_0708,
        version: 2,
        charlie: charlie.map(|c| c.parse().unwrap()),
    }
}

fn test() -> PeerTestTerms {
    PeerTestTerms {
        version: 2,
        nonce: 0x0102_0304,
        timestamp: 0x0506_0708,
        alice: Some("192.0.2.1:4660".parse().unwrap()),
    }
}

/// The content of the only block in a payload with `block`.
fn content(block: Block<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out, 1000).put(&block).unwrap();
    assert_eq!(out.len(), block.encoded_len());
    assert_eq!(Blocks::new(&out).collect::<Vec<_>>(), [Ok(block)]);
    out.split_off(3)
}

#[test]
fn what_is_signed_begins_with_its_prologue_and_the_hashes() {
    let fields = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 2, 6, 0x12, 0x34, 192, 0, 2, 1];
    assert_eq!(
        request().signed_bytes(&BOB, &CHARLIE),
        [b"RelayRequestData", &BOB.0[..], &CHARLIE.0, &fields].concat()
    );
    let fields = [1, 2, 3, 4, 5, 6, 7, 8, 2, 6, 0x12, 0x34, 192, 0, 2, 1];
    assert_eq!(
        response(Some("192.0.2.1:4660")).signed_bytes(&BOB),
        [b"RelayAgreementOK", &BOB.0[..], &fields].concat()
    );
    let fields = [1, 2, 3, 4, 5, 6, 7, 8, 2, 0];
    assert_eq!(
        response(None).signed_bytes(&BOB),
        [b"RelayAgreementOK", &BOB.0[..], &fields].concat()
    );
    let fields = [2, 1, 2, 3, 4, 5, 6, 7, 8, 6, 0x12, 0x34, 192, 0, 2, 1];
    assert_eq!(
        test().signed_bytes(&BOB, None),
        [b"PeerTestValidate", &BOB.0[..], &fields].concat()
    );
    assert_eq!(
        test().signed_bytes(&BOB, Some(&ALICE)),
        [b"PeerTestValidate", &BOB.0[..], &ALICE.0, &fields].concat()
    );
}

#[test]
fn fields_stand_where_the_layout_says() {
    let fields = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 2, 6, 0x12, 0x34, 192, 0, 2, 1];
    let signature = &[0x55; 64][..];
    let request = RelayRequest { terms: request(), signature };
    assert_eq!(content(Block::RelayRequest(request)), [&[0], &fields[..], signature].concat());
    let intro = RelayIntro { alice: ALICE, request };
    assert_eq!(
        content(Block::RelayIntro(intro)),
        [&[0], &ALICE.0[..], &fields, signature].concat()
    );

    let mut six = [0; 16];
    six[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
    let accepted = RelayResponse {
        code: Code::ACCEPT,
        terms: response(Some("[2001:db8::]:4660")),
        signature,
        token: Some(0x1112_1314_1516_1718),
    };
    assert_eq!(
        content(Block::RelayResponse(accepted)),
        [
            &[0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 2, 18, 0x12, 0x34][..],
            &six,
            signature,
            &[0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]
        ]
        .concat()
    );
    let refused =
        RelayResponse { code: Code::BOB_TAG, terms: response(None), signature, token: None };
    assert_eq!(
        content(Block::RelayResponse(refused)),
        [&[0, 5, 1, 2, 3, 4, 5, 6, 7, 8, 2, 0], signature].concat()
    );

    let fields = [2, 1, 2, 3, 4, 5, 6, 7, 8, 6, 0x12, 0x34, 192, 0, 2, 1];
    let ask = PeerTest { step: PeerTestStep::AliceToBob, code: Code(0), terms: test(), signature };
    assert_eq!(content(Block::PeerTest(ask)), [&[1, 0, 0], &fields[..], signature].concat());
    let step = PeerTestStep::BobToAlice(CHARLIE);
    let answer = PeerTest { step, code: Code::CHARLIE_LIMIT, ..ask };
    assert_eq!(
        content(Block::PeerTest(answer)),
        [&[4, 66, 0], &CHARLIE.0[..], &fields, signature].concat()
    );
    let outside = PeerTest { step: PeerTestStep::CharlieToAlice, signature: &[], ..ask };
    assert_eq!(content(Block::PeerTest(outside)), [&[5, 0, 0], &fields[..]].concat());
}

#[test]
fn signatures_hold_for_whom_they_were_made_and_for_nobody_else() {
    let mut rng = Rng::new(&Seed::from_number(5));
    let (key, other) = (SigningKey::generate(&mut rng), SigningKey::generate(&mut rng));
    let (public, wrong) = (key.public(), other.public());

    let signature = request().sign(&BOB, &CHARLIE, &key);
    let ask = RelayRequest { terms: request(), signature: &signature };
    ask.verify(&BOB, &CHARLIE, &public).unwrap();
    assert!(ask.verify(&CHARLIE, &BOB, &public).is_err());
    assert!(ask.verify(&BOB, &ALICE, &public).is_err());
    assert!(ask.verify(&BOB, &CHARLIE, &wrong).is_err());
    let terms = RelayRequestTerms { tag: 1, ..ask.terms };
    assert!(RelayRequest { terms, ..ask }.verify(&BOB, &CHARLIE, &public).is_err());

    for charlie in [None, Some("[2001:db8::1]:9")] {
        let terms = response(charlie);
        let signature = terms.sign(&BOB, &key);
        let answer =
            RelayResponse { code: Code::ACCEPT, terms, signature: &signature, token: Some(1) };
        answer.verify(&BOB, &public).unwrap();
        assert!(answer.verify(&ALICE, &public).is_err());
        assert!(answer.verify(&BOB, &wrong).is_err());
        let terms = RelayResponseTerms { nonce: 0, ..terms };
        assert!(RelayResponse { terms, ..answer }.verify(&BOB, &public).is_err());
        // The code and the token are not signed.
        RelayResponse { token: Some(2), code: Code(9), ..answer }.verify(&BOB, &public).unwrap();
    }

    let by_alice = test().sign_as_alice(&BOB, &key);
    let by_charlie = test().sign_as_charlie(&BOB, &ALICE, &key);
    for (step, charlies) in [
        (PeerTestStep::AliceToBob, false),
        (PeerTestStep::BobToCharlie(ALICE), false),
        (PeerTestStep::CharlieToBob, true),
        (PeerTestStep::BobToAlice(CHARLIE), true),
        (PeerTestStep::CharlieToAlice, true),
        (PeerTestStep::AliceToCharlie, false),
        (PeerTestStep::CharlieToAliceAgain, true),
    ] {
        for (signature, is_charlies) in [(&by_alice, false), (&by_charlie, true)] {
            let message = PeerTest { step, code: Code(0), terms: test(), signature };
            let verified = message.verify(&BOB, &ALICE, &public);
            assert_eq!(verified.is_ok(), charlies == is_charlies, "{step:?}");
            assert!(message.verify(&CHARLIE, &ALICE, &public).is_err());
        }
    }
}

#[test]
fn a_signature_of_another_length_is_refused_before_it_is_tried() {
    let mut rng = Rng::new(&Seed::from_number(6));
    let key = SigningKey::generate(&mut rng);
    let signature = request().sign(&BOB, &CHARLIE, &key);
    let longer = [&signature[..], &[0]].concat();
    for signature in [&signature[..63], &longer, &[]] {
        let ask = RelayRequest { terms: request(), signature };
        let got = ask.verify(&BOB, &CHARLIE, &key.public());
        assert_eq!(got, Err(BadSignature::Mismatch));
    }
    let p521 = PublicKey::new(SignatureType::EcdsaP521, &[4; 132]).unwrap();
    let ask = RelayRequest { terms: request(), signature: &signature };
    assert_eq!(ask.verify(&BOB, &CHARLIE, &p521), Err(BadSignature::Mismatch));
}

#[test]
fn everything_round_trips() {
    let mut rng = Rng::new(&Seed::from_number(7));
    for _ in 0..1000 {
        let mut keep = Vec::new();
        let block = random(&mut rng, &mut keep);
        content(block);
    }
}

#[test]
fn sizes_of_endpoints_other_than_those_of_ip_are_refused() {
    let head = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 2];
    for size in 0..=u8::MAX {
        let mut data = head.to_vec();
        data.push(size);
        data.resize(data.len() + 255 + 64, 1);
        let request = RelayRequest::decode(&mut Reader::new(&data));
        assert_eq!(request.is_ok(), [6, 18].contains(&size), "{size}");
        let bytes = [&head[..10], &data[13..]].concat();
        let response = RelayResponse::decode(&mut Reader::new(&bytes));
        assert_eq!(response.is_ok(), [0, 6, 18].contains(&size), "{size}");
        let bytes = [&[1, 0, 0], &head[..9], &data[14..]].concat();
        let test = PeerTest::decode(&mut Reader::new(&bytes));
        assert_eq!(test.is_ok(), [0, 6, 18].contains(&size), "{size}");
    }
}

#[test]
fn cuts_before_the_signature_are_refused() {
    let mut rng = Rng::new(&Seed::from_number(8));
    for _ in 0..200 {
        let mut keep = Vec::new();
        let block = random(&mut rng, &mut keep);
        let data = content(block);
        let signature = if let Block::RelayRequest(b) = block {
            b.signature.len()
        } else if let Block::RelayIntro(b) = block {
            b.request.signature.len()
        } else if let Block::RelayResponse(b) = block {
            b.signature.len()
        } else if let Block::PeerTest(b) = block {
            // It may be missing.
            b.signature.len() + 1
        } else {
            panic!("{block:?}")
        };
        // What is left of a signature is one, of another length.
        let least = data.len() + 1 - signature;
        for cut in 0..data.len() {
            let mut payload = alloc::vec![block.kind(), 0, 0];
            payload[1..3].copy_from_slice(&(cut as u16).to_be_bytes());
            payload.extend_from_slice(&data[..cut]);
            let got = Blocks::new(&payload).next().unwrap();
            assert_eq!(got.is_ok(), cut >= least, "{block:?} cut at {cut}");
        }
    }
}

#[test]
fn messages_of_a_peer_test_are_seven() {
    let rest = [0; 60];
    for number in 0..=u8::MAX {
        let bytes = [&[number, 0, 0], &rest[..]].concat();
        let got = PeerTest::decode(&mut Reader::new(&bytes));
        assert_eq!(got.is_ok(), (1..=7).contains(&number));
        assert!(got.is_ok_and(|t| t.step.number() == number) || !(1..=7).contains(&number));
    }
}

#[test]
fn codes_tell_whose_refusal_it_is() {
    for code in 0..=u8::MAX {
        assert_eq!(Code(code).refused_by_bob(), (1..=63).contains(&code));
    }
}
