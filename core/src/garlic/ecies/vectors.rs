//! One whole exchange, computed apart by a second implementation of the specification (in another
//! language, from its text, on other crates' primitives): every byte must be the same.

use super::handshake::{Initiator, Local, Responder, Sets, seal_one_time};
use super::ratchet::tagset_key;
use super::tagset::SendSet;
use crate::crypto::elligator2::{self, KeyPair};
use crate::crypto::hash::sha256;
use crate::crypto::x25519::PrivateKey;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use data_encoding::HEXLOWER as HEX;

const ALICE_EPHEMERAL: &str = "cfdaa781cdb2c8c7e0db4f00b87a251dd8b702d0bb6e443e7c76674d90c3fb5f";
const BOB_EPHEMERAL: &str = "e52b5fe8e4c8f3a47407ced4757e0683e8378a556e06d6591301482b0e2b923f";
const NEW_SESSION: &str = "eb967b46d0395df5aa5051a523a528fbc9e36c1b2b683ee94cda1458eaaafbcd\
    d5908fc75020bac002bfe58e007e9e4616f768318fed3ad0b232858ea23842dcf5c3d7024c6a1a78eb6642bfd245\
    34db74cc7ac28609aaf5477915cc0fd176dd1b0b100b56";
const ONE_TIME: &str = "eb967b46d0395df5aa5051a523a528fbc9e36c1b2b683ee94cda1458eaaafbcd\
    fb1ba744925b83d35b68354f5d7e1f1c7064413bb730b46a862e45f37890af917de4ab5fc4040c46b1c17d2de6e9\
    498cd410039aad8c9bdf8b037393b384d49dad59282e";
const REPLY: &str = "a2546cedae8e2da37ee235f32d6fc049e92f84424bfc74fb435fec9857742e59b5d3e74ee6c51129\
    e7bacd197cd77482e1a69a396940af93b9c87e8f6b341c90b0bed05a3f79d3981b1eccbd3312";
/// Alice's first two messages, Bob's first one, Alice's first one after a DH ratchet.
const EXISTING: [&str; 4] = [
    "23ca16c2064db2a65aa55670ba0c52fba00533a8407602af463c9ea227",
    "b5159595e5e218db1e020f2b34ceb098d36108907ae3cf4f4f1b65356975",
    "fc98fbb9f4b961517f5c0640937b0f7305465d790e4ee31dae98d9fd57",
    "907bf796392af1112a44baa08a1e14a724bfa2f11844b0558a66a434c4",
];

fn private(name: &str) -> PrivateKey {
    PrivateKey::from_bytes(sha256(name.as_bytes()))
}

fn local(name: &str) -> Local {
    Local::new(Arc::new(private(name)))
}

/// The key pair with this private key whose encoding stands at the start of `message`.
fn pair(secret: &str, message: &[u8]) -> KeyPair {
    let private =
        PrivateKey::from_bytes(HEX.decode(secret.as_bytes()).unwrap().try_into().unwrap());
    let public = private.public();
    let encoded = message[..32].try_into().unwrap();
    assert_eq!(elligator2::decode(&encoded), Ok(public));
    KeyPair { private, public, encoded }
}

fn bytes(hex: &str) -> Vec<u8> {
    HEX.decode(hex.as_bytes()).unwrap()
}

fn seal(set: &mut SendSet, text: &[u8]) -> String {
    let mut out = Vec::new();
    set.seal(&mut out, |out| out.extend_from_slice(text)).unwrap();
    HEX.encode(&out)
}

#[test]
fn a_whole_exchange_is_the_same_byte_for_byte() {
    let (alice, bob) = (local("alice"), local("bob"));
    let ephemeral = pair(ALICE_EPHEMERAL, &bytes(NEW_SESSION));
    let mut message = Vec::new();
    let initiator = Initiator::seal(&alice, bob.public(), ephemeral, &mut message, |out| {
        out.extend_from_slice(b"first");
    })
    .unwrap();
    assert_eq!(HEX.encode(&message), NEW_SESSION);

    let (encoded, rest) = message.split_first_chunk_mut().unwrap();
    let ephemeral = elligator2::decode(encoded).unwrap();
    let (responder, payload) = Responder::open(&bob, ephemeral, rest).unwrap();
    assert_eq!(payload, b"first");
    let mut reply = Vec::new();
    let ephemeral = pair(BOB_EPHEMERAL, &bytes(REPLY)[8..]);
    let bobs = responder
        .unwrap()
        .seal_reply(&ephemeral, &mut reply, |out| out.extend_from_slice(b"second"))
        .unwrap();
    assert_eq!(HEX.encode(&reply), REPLY);

    let (tag, rest) = reply.split_first_chunk_mut().unwrap();
    let (alices, payload) = initiator.open_reply(&alice, tag, rest).unwrap();
    assert_eq!(payload, b"second");
    let (Sets { send: mut ab, .. }, Sets { send: mut ba, .. }) = (alices, bobs);
    assert_eq!(seal(&mut ab, b"third"), EXISTING[0]);
    assert_eq!(seal(&mut ab, b"fourth"), EXISTING[1]);
    assert_eq!(seal(&mut ba, b"fifth"), EXISTING[2]);
    let key = tagset_key(&private("sender key 0"), &private("receiver key 0").public()).unwrap();
    assert_eq!(seal(&mut SendSet::new(1, ab.root(), &key), b"sixth"), EXISTING[3]);
}

#[test]
fn a_one_time_message_is_the_same_byte_for_byte() {
    let ephemeral = pair(ALICE_EPHEMERAL, &bytes(ONE_TIME));
    let mut message = Vec::new();
    let bob = private("bob").public();
    seal_one_time(&bob, &ephemeral, &mut message, |out| out.extend_from_slice(b"once")).unwrap();
    assert_eq!(HEX.encode(&message), ONE_TIME);
}
