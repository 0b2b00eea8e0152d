//! Peer tests (specification `ssu2`, PeerTest).

use super::{Code, HASH_LEN, prologue, verify};
use crate::crypto::sign::{BadSignature, PublicKey, SigningKey};
use crate::wire::codec::{DecodeError, Put, Reader};
use crate::wire::hash::Hash;
use crate::wire::ssu2::endpoint;
use alloc::vec::Vec;
use core::net::SocketAddr;

const PROLOGUE: &[u8; 16] = b"PeerTestValidate";

/// A message of a peer test, by its number. The first four go through sessions, the others do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerTestStep {
    /// 1: Alice to Bob.
    AliceToBob,
    /// 2: Bob to Charlie, with Alice's hash.
    BobToCharlie(Hash),
    /// 3: Charlie to Bob.
    CharlieToBob,
    /// 4: Bob to Alice, with Charlie's hash, which is zero when Bob refuses.
    BobToAlice(Hash),
    /// 5: Charlie to Alice, who is not firewalled if it arrives.
    CharlieToAlice,
    /// 6: Alice to Charlie.
    AliceToCharlie,
    /// 7: Charlie to Alice once more.
    CharlieToAliceAgain,
}

impl PeerTestStep {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::AliceToBob => 1,
            Self::BobToCharlie(_) => 2,
            Self::CharlieToBob => 3,
            Self::BobToAlice(_) => 4,
            Self::CharlieToAlice => 5,
            Self::AliceToCharlie => 6,
            Self::CharlieToAliceAgain => 7,
        }
    }

    /// Whether Charlie signs it, and with that says whom he tests.
    #[must_use]
    pub const fn is_by_charlie(self) -> bool {
        match self {
            Self::CharlieToBob
            | Self::BobToAlice(_)
            | Self::CharlieToAlice
            | Self::CharlieToAliceAgain => true,
            Self::AliceToBob | Self::BobToCharlie(_) | Self::AliceToCharlie => false,
        }
    }

    const fn hash(&self) -> Option<&Hash> {
        match self {
            Self::BobToCharlie(hash) | Self::BobToAlice(hash) => Some(hash),
            Self::AliceToBob
            | Self::CharlieToBob
            | Self::CharlieToAlice
            | Self::AliceToCharlie
            | Self::CharlieToAliceAgain => None,
        }
    }
}

/// What is signed of a peer test: `version(1) nonce(4) timestamp(4) size(1) [port(2) IP(4 or 16)]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerTestTerms {
    /// The version that is tested.
    pub version: u8,
    /// Random; all messages of one test have it.
    pub nonce: u32,
    /// The signer's clock, seconds since the epoch.
    pub timestamp: u32,
    /// Where Alice is, as she sees it. Only a refusal may be without.
    pub alice: Option<SocketAddr>,
}

impl PeerTestTerms {
    /// The bytes that are signed: by Alice, or, and then with her hash, by Charlie.
    #[must_use]
    pub fn signed_bytes(&self, bob: &Hash, alice: Option<&Hash>) -> Vec<u8> {
        let mut out = prologue(PROLOGUE, bob, alice);
        self.encode(&mut out);
        out
    }

    /// The signature of Alice.
    #[must_use]
    pub fn sign_as_alice(&self, bob: &Hash, key: &SigningKey) -> [u8; 64] {
        key.sign(&self.signed_bytes(bob, None))
    }

    /// The signature of Charlie.
    #[must_use]
    pub fn sign_as_charlie(&self, bob: &Hash, alice: &Hash, key: &SigningKey) -> [u8; 64] {
        key.sign(&self.signed_bytes(bob, Some(alice)))
    }

    fn encoded_len(&self) -> usize {
        9 + endpoint::sized_len(self.alice.as_ref())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(self.version);
        out.put_u32(self.nonce);
        out.put_u32(self.timestamp);
        endpoint::put_sized(out, self.alice.as_ref());
    }
}

/// One message of a peer test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerTest<'a> {
    /// Which message it is.
    pub step: PeerTestStep,
    /// Whether it was refused. Not signed.
    pub code: Code,
    /// What is signed.
    pub terms: PeerTestTerms,
    /// By Alice or by Charlie; may be missing outside sessions. When Bob refuses (message 4), it is
    /// Alice's own of message 1.
    pub signature: &'a [u8],
}

impl<'a> PeerTest<'a> {
    /// Whether its signer, Alice or Charlie by [`PeerTestStep::is_by_charlie`], signed it.
    pub fn verify(&self, bob: &Hash, alice: &Hash, signer: &PublicKey) -> Result<(), BadSignature> {
        let alice = self.step.is_by_charlie().then_some(alice);
        verify(signer, &self.terms.signed_bytes(bob, alice), self.signature)
    }

    pub(in crate::wire::ssu2) fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let number = r.u8()?;
        let code = Code(r.u8()?);
        let _flags = r.u8()?;
        let step = match number {
            1 => PeerTestStep::AliceToBob,
            2 => PeerTestStep::BobToCharlie(Hash(r.array()?)),
            3 => PeerTestStep::CharlieToBob,
            4 => PeerTestStep::BobToAlice(Hash(r.array()?)),
            5 => PeerTestStep::CharlieToAlice,
            6 => PeerTestStep::AliceToCharlie,
            7 => PeerTestStep::CharlieToAliceAgain,
            _ => return Err(DecodeError::Invalid("peer test message")),
        };
        let terms = PeerTestTerms {
            version: r.u8()?,
            nonce: r.u32()?,
            timestamp: r.u32()?,
            alice: endpoint::decode_sized(r)?,
        };
        Ok(Self { step, code, terms, signature: r.rest() })
    }

    pub(in crate::wire::ssu2) fn encoded_len(&self) -> usize {
        let hash = self.step.hash().map_or(0, |_| HASH_LEN);
        3 + hash + self.terms.encoded_len() + self.signature.len()
    }

    pub(in crate::wire::ssu2) fn encode(&self, out: &mut Vec<u8>) {
        out.put(&[self.step.number(), self.code.0, 0]);
        if let Some(hash) = self.step.hash() {
            out.put(hash.as_bytes());
        }
        self.terms.encode(out);
        out.put(self.signature);
    }
}
