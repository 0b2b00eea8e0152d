//! Bytes that i2pd sent, against the same keys: what both of our roles could get wrong together.

use super::fixture::{End, NET};
use crate::crypto::x25519::{PrivateKey, PublicKey};
use crate::rng::{Rng, Seed};
use crate::time::{Instant, UnixTime};
use crate::transport::Peer;
use crate::transport::ntcp2::{Local, Remote, Session, SessionEvent};
use crate::wire::hash::Hash;
use crate::wire::i2np::MessageType;
use crate::wire::router_info::RouterInfo;
use alloc::sync::Arc;
use alloc::vec::Vec;
use data_encoding::HEXLOWER;

/// The values of all lines that start with this role and name.
fn values(role: &'static str, name: &'static str) -> impl Iterator<Item = &'static str> {
    include_str!("i2pd.txt").lines().filter_map(move |line| {
        line.strip_prefix(role)?.trim_start().strip_prefix(name)?.strip_prefix(' ')
    })
}

fn bytes(role: &'static str, name: &'static str) -> Vec<u8> {
    HEXLOWER.decode(values(role, name).next().unwrap().as_bytes()).unwrap()
}

fn array<const N: usize>(role: &'static str, name: &'static str) -> [u8; N] {
    bytes(role, name).try_into().unwrap()
}

fn local(role: &'static str) -> Arc<Local> {
    let secret = PrivateKey::from_bytes(array(role, "our_secret"));
    Arc::new(Local::new(Hash(array(role, "our_hash")), secret, array(role, "our_iv"), NET))
}

/// Plays what i2pd sent.
fn play(role: &'static str, session: Session) -> End {
    let mut end = End::new(session);
    end.clock = UnixTime::from_millis(values(role, "unix").next().unwrap().parse().unwrap());
    end.take(Instant::ZERO, 1 << 16);
    for line in values(role, "in") {
        end.give(Instant::ZERO, &HEXLOWER.decode(line.as_bytes()).unwrap()).unwrap();
        end.take(Instant::ZERO, 1 << 16);
    }
    end
}

#[test]
fn an_initiator_understands_i2pd() {
    let remote = Remote {
        hash: Hash(array("initiator", "peer_hash")),
        static_key: PublicKey(array("initiator", "peer_static")),
        iv: array("initiator", "peer_iv"),
    };
    let info = RouterInfo::decode(&bytes("initiator", "our_info")).unwrap();
    let rng = Rng::new(&Seed::from_number(1));
    let session = Session::connect(Instant::ZERO, local("initiator"), info, remote, rng);
    let end = play("initiator", session);
    let peer = Peer::Outbound(remote.hash);
    assert_eq!(end.events.first(), Some(&SessionEvent::Established { peer, skew: 0 }));
    let messages = end.messages();
    let kinds: Vec<_> = messages.iter().map(|m| m.kind).collect();
    assert_eq!(kinds, [MessageType::DATABASE_STORE, MessageType::DELIVERY_STATUS]);
    assert_eq!(messages[1].body[..4], [0, 0, 0x12, 0x34]);
    assert_eq!(end.session.stats().malformed, 0);
}

#[test]
fn a_responder_understands_i2pd() {
    let rng = Rng::new(&Seed::from_number(1)).fork("accept");
    let end = play("responder", Session::accept(Instant::ZERO, local("responder"), rng));
    let Some(SessionEvent::Established { peer: Peer::Inbound { info, .. }, skew: -1 }) =
        end.events.first()
    else {
        panic!("{:?}", end.events)
    };
    assert_eq!(info.hash(), Hash(array("initiator", "peer_hash")));
    let messages = end.messages();
    let kinds: Vec<_> = messages.iter().map(|m| m.kind).collect();
    assert_eq!(kinds, [MessageType::DATABASE_STORE]);
    assert_eq!(end.session.stats().malformed, 0);
}
