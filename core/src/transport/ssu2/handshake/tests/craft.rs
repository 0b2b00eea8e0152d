//! Packets by hand, with any payload, straight from the tables of the specification.

use super::fixture::Router;
use crate::crypto::aead;
use crate::crypto::kdf::hkdf1;
use crate::crypto::noise::{Protocol, SymmetricState};
use crate::crypto::x25519::{PrivateKey, PublicKey};
use crate::rng::{Rng, Seed};
use crate::wire::ssu2::{
    ConnectionId, Fragment, LongHeader, LongKind, ShortHeader, ShortKind, VERSION, protect,
};
use alloc::vec::Vec;

/// A long header with a fixed number.
pub(super) fn header(kind: LongKind, to: u64, from: u64, token: u64, net_id: u8) -> LongHeader {
    let (destination, source) = (ConnectionId(to), ConnectionId(from));
    LongHeader { destination, number: 7, kind, version: VERSION, net_id, source, token }
}

/// A packet that Bob's intro key seals: TokenRequest or Retry.
pub(super) fn sealed(bob: &Router, header: &LongHeader, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    header.encode(&mut packet);
    let mut text = payload.to_vec();
    let tag = aead::seal(bob.local.intro(), header.number.into(), &packet, &mut text);
    packet.extend(text);
    packet.extend(tag);
    protect::protect(&mut packet, bob.local.intro(), bob.local.intro()).unwrap();
    packet
}

/// What one side knows of the handshake.
pub(super) struct Side {
    noise: SymmetricState,
    ephemeral: PrivateKey,
    ids: (u64, u64),
}

/// Alice's SessionRequest.
pub(super) fn request(bob: &Router, header: &LongHeader, payload: &[u8]) -> (Side, Vec<u8>) {
    let ephemeral = PrivateKey::generate(&mut Rng::new(&Seed::from_number(55)));
    let mut noise = SymmetricState::new(Protocol::Ssu2, bob.local.static_public());
    let mut packet = Vec::new();
    header.encode(&mut packet);
    noise.mix_hash(&packet);
    noise.mix_hash(&ephemeral.public().0);
    noise.mix_key(&ephemeral.diffie_hellman(bob.local.static_public()).unwrap());
    packet.extend(ephemeral.public().0);
    packet.extend(payload);
    noise.encrypt_and_hash(&mut packet, 64);
    protect::protect(&mut packet, bob.local.intro(), bob.local.intro()).unwrap();
    let ids = (header.source.0, header.destination.0);
    (Side { noise, ephemeral, ids }, packet)
}

/// Bob's SessionCreated to a SessionRequest as it is sent.
pub(super) fn created(bob: &Router, request: &[u8], net_id: u8, payload: &[u8]) -> Vec<u8> {
    let intro = bob.local.intro();
    let mut request = request.to_vec();
    let to = protect::destination(&request, intro).unwrap();
    protect::unprotect(&mut request, to, intro).unwrap();
    let mut noise = SymmetricState::new(Protocol::Ssu2, bob.local.static_public());
    noise.mix_hash(&request[..32]);
    noise.mix_hash(&request[32..64]);
    let x = PublicKey(request[32..64].try_into().unwrap());
    noise.mix_key(&bob.local.static_key().diffie_hellman(&x).unwrap());
    noise.decrypt_and_hash(&mut request[64..]).unwrap();
    let key = hkdf1(noise.chaining_key(), b"", b"SessCreateHeader");

    let ephemeral = PrivateKey::generate(&mut Rng::new(&Seed::from_number(56)));
    let from = u64::from_be_bytes(request[16..24].try_into().unwrap());
    let mut packet = Vec::new();
    header(LongKind::SessionCreated, from, to.0, 0, net_id).encode(&mut packet);
    noise.mix_hash(&packet);
    noise.mix_hash(&ephemeral.public().0);
    noise.mix_key(&ephemeral.diffie_hellman(&x).unwrap());
    packet.extend(ephemeral.public().0);
    packet.extend(payload);
    noise.encrypt_and_hash(&mut packet, 64);
    protect::protect(&mut packet, intro, &key).unwrap();
    packet
}

/// Alice's SessionConfirmed, in parts of these lengths and a last one.
pub(super) fn confirmed(
    side: Side,
    (alice, bob): (&Router, &Router),
    created: &[u8],
    payload: &[u8],
    cuts: &[usize],
) -> Vec<Vec<u8>> {
    let Side { mut noise, ephemeral, ids: (ours, theirs) } = side;
    let key = hkdf1(noise.chaining_key(), b"", b"SessCreateHeader");
    let mut created = created.to_vec();
    protect::unprotect(&mut created, ConnectionId(ours), &key).unwrap();
    noise.mix_hash(&created[..32]);
    noise.mix_hash(&created[32..64]);
    let y = PublicKey(created[32..64].try_into().unwrap());
    noise.mix_key(&ephemeral.diffie_hellman(&y).unwrap());
    noise.decrypt_and_hash(&mut created[64..]).unwrap();
    let key = hkdf1(noise.chaining_key(), b"", b"SessionConfirmed");

    let total = cuts.len() as u8 + 1;
    let header = |number| {
        let kind = ShortKind::SessionConfirmed(Fragment::new(number, total).unwrap());
        let mut out = Vec::new();
        ShortHeader { destination: ConnectionId(theirs), number: 0, kind }.encode(&mut out);
        out
    };
    noise.mix_hash(&header(0));
    let mut sealed = alice.local.static_public().0.to_vec();
    noise.encrypt_and_hash(&mut sealed, 0);
    noise.mix_key(&alice.local.static_key().diffie_hellman(&y).unwrap());
    sealed.extend(payload);
    noise.encrypt_and_hash(&mut sealed, 48);
    let mut rest = &sealed[..];
    (0..total)
        .map(|number| {
            let (piece, left) =
                rest.split_at(*cuts.get(usize::from(number)).unwrap_or(&rest.len()));
            rest = left;
            let mut packet = header(number);
            packet.extend(piece);
            protect::protect(&mut packet, bob.local.intro(), &key).unwrap();
            packet
        })
        .collect()
}
