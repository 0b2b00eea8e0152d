//! What is signed inside blocks: introductions and peer tests (specification `ssu2`, RelayRequest to PeerTest).
//!
//! Alice, Bob and Charlie are who asks, who passes on, and who is asked. Bob passes the signed fields on as they
//! are, with their signature. No field has two encodings, so the bytes that are signed are made again from what
//! was decoded.
//!
//! A block does not say whose signature it ends with, so its length is whatever is left, and `verify` refuses
//! another than the signer's key has.

mod code;
mod peer_test;

pub use code::Code;
pub use peer_test::{PeerTest, PeerTestStep, PeerTestTerms};

use super::endpoint;
use crate::crypto::sign::{BadSignature, PublicKey, SigningKey};
use crate::wire::codec::{DecodeError, Put, Reader};
use crate::wire::hash::Hash;
use alloc::vec::Vec;
use core::net::SocketAddr;

const REQUEST_PROLOGUE: &[u8; 16] = b"RelayRequestData";
const RESPONSE_PROLOGUE: &[u8; 16] = b"RelayAgreementOK";
const HASH_LEN: usize = 32;
const TOKEN_LEN: usize = 8;

/// What Alice asks, and signs: `nonce(4) tag(4) timestamp(4) version(1) size(1) port(2) IP(4 or 16)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayRequestTerms {
    /// Random; what belongs to this introduction has it.
    pub nonce: u32,
    /// The tag that Bob gave Charlie, and Charlie published.
    pub tag: u32,
    /// Alice's clock, seconds since the epoch.
    pub timestamp: u32,
    /// The version that she will speak with Charlie.
    pub version: u8,
    /// Where she is, as she sees it.
    pub alice: SocketAddr,
}

impl RelayRequestTerms {
    /// The bytes that Alice signs.
    #[must_use]
    pub fn signed_bytes(&self, bob: &Hash, charlie: &Hash) -> Vec<u8> {
        let mut out = prologue(REQUEST_PROLOGUE, bob, Some(charlie));
        self.encode(&mut out);
        out
    }

    /// Alice's signature.
    #[must_use]
    pub fn sign(&self, bob: &Hash, charlie: &Hash, alice: &SigningKey) -> [u8; 64] {
        alice.sign(&self.signed_bytes(bob, charlie))
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            nonce: r.u32()?,
            tag: r.u32()?,
            timestamp: r.u32()?,
            version: r.u8()?,
            alice: endpoint::decode_sized(r)?.ok_or(DecodeError::Invalid("endpoint size"))?,
        })
    }

    fn encoded_len(&self) -> usize {
        13 + endpoint::sized_len(Some(&self.alice))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.nonce);
        out.put_u32(self.tag);
        out.put_u32(self.timestamp);
        out.put_u8(self.version);
        endpoint::put_sized(out, Some(&self.alice));
    }
}

/// Alice to Bob: an introduction to Charlie, please.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayRequest<'a> {
    /// What is asked.
    pub terms: RelayRequestTerms,
    /// By Alice.
    pub signature: &'a [u8],
}

impl<'a> RelayRequest<'a> {
    /// Whether Alice signed it for these two.
    pub fn verify(
        &self,
        bob: &Hash,
        charlie: &Hash,
        alice: &PublicKey,
    ) -> Result<(), BadSignature> {
        verify(alice, &self.terms.signed_bytes(bob, charlie), self.signature)
    }

    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let _flags = r.u8()?;
        Self::decode_signed(r)
    }

    pub(super) fn encoded_len(&self) -> usize {
        1 + self.signed_len()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(0);
        self.encode_signed(out);
    }

    fn decode_signed(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let terms = RelayRequestTerms::decode(r)?;
        Ok(Self { terms, signature: signature(r, 0)? })
    }

    fn signed_len(&self) -> usize {
        self.terms.encoded_len() + self.signature.len()
    }

    fn encode_signed(&self, out: &mut Vec<u8>) {
        self.terms.encode(out);
        out.put(self.signature);
    }
}

/// Bob to Charlie: Alice wants to connect to you.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayIntro<'a> {
    /// Who Alice is.
    pub alice: Hash,
    /// What she sent.
    pub request: RelayRequest<'a>,
}

impl<'a> RelayIntro<'a> {
    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let _flags = r.u8()?;
        let alice = Hash(r.array()?);
        Ok(Self { alice, request: RelayRequest::decode_signed(r)? })
    }

    pub(super) fn encoded_len(&self) -> usize {
        1 + HASH_LEN + self.request.signed_len()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(0);
        out.put(self.alice.as_bytes());
        self.request.encode_signed(out);
    }
}

/// The answer to Alice, which its author signs: `nonce(4) timestamp(4) version(1) size(1) [port(2) IP(4 or 16)]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayResponseTerms {
    /// That of the request.
    pub nonce: u32,
    /// The author's clock, seconds since the epoch.
    pub timestamp: u32,
    /// The version that Charlie will speak.
    pub version: u8,
    /// Where Charlie is; `None` in a refusal.
    pub charlie: Option<SocketAddr>,
}

impl RelayResponseTerms {
    /// The bytes that are signed: by Charlie, or by Bob when he refuses.
    #[must_use]
    pub fn signed_bytes(&self, bob: &Hash) -> Vec<u8> {
        let mut out = prologue(RESPONSE_PROLOGUE, bob, None);
        self.encode(&mut out);
        out
    }

    /// The author's signature.
    #[must_use]
    pub fn sign(&self, bob: &Hash, author: &SigningKey) -> [u8; 64] {
        author.sign(&self.signed_bytes(bob))
    }

    fn encoded_len(&self) -> usize {
        9 + endpoint::sized_len(self.charlie.as_ref())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.nonce);
        out.put_u32(self.timestamp);
        out.put_u8(self.version);
        endpoint::put_sized(out, self.charlie.as_ref());
    }
}

/// Charlie to Bob, Bob to Alice, and Charlie to Alice in a HolePunch: what became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayResponse<'a> {
    /// What became of it. Not signed.
    pub code: Code,
    /// The answer.
    pub terms: RelayResponseTerms,
    /// By Charlie, or by Bob when he refuses.
    pub signature: &'a [u8],
    /// For Alice's SessionRequest to Charlie, when [accepted](Code::ACCEPT) and only then. Not signed.
    pub token: Option<u64>,
}

impl<'a> RelayResponse<'a> {
    /// Whether `author` signed it for Bob: see [`Code::refused_by_bob`].
    pub fn verify(&self, bob: &Hash, author: &PublicKey) -> Result<(), BadSignature> {
        verify(author, &self.terms.signed_bytes(bob), self.signature)
    }

    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let _flags = r.u8()?;
        let code = Code(r.u8()?);
        let terms = RelayResponseTerms {
            nonce: r.u32()?,
            timestamp: r.u32()?,
            version: r.u8()?,
            charlie: endpoint::decode_sized(r)?,
        };
        let accepted = code == Code::ACCEPT;
        let signature = signature(r, if accepted { TOKEN_LEN } else { 0 })?;
        let token = if accepted { Some(r.u64()?) } else { None };
        Ok(Self { code, terms, signature, token })
    }

    pub(super) fn encoded_len(&self) -> usize {
        let token = if self.token.is_some() { TOKEN_LEN } else { 0 };
        2 + self.terms.encoded_len() + self.signature.len() + token
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(0);
        out.put_u8(self.code.0);
        self.terms.encode(out);
        out.put(self.signature);
        if let Some(token) = self.token {
            out.put_u64(token);
        }
    }
}

/// The start of signed bytes, which no message carries.
fn prologue(text: &[u8; 16], bob: &Hash, other: Option<&Hash>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2 * HASH_LEN + 32);
    out.put(text);
    out.put(bob.as_bytes());
    if let Some(other) = other {
        out.put(other.as_bytes());
    }
    out
}

/// The signature: all that is left but the last `behind` bytes, and not nothing.
fn signature<'a>(r: &mut Reader<'a>, behind: usize) -> Result<&'a [u8], DecodeError> {
    match r.remaining().checked_sub(behind) {
        None | Some(0) => Err(DecodeError::Truncated),
        Some(len) => r.take(len),
    }
}

fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
    if signature.len() != key.signature_len() {
        return Err(BadSignature::Mismatch);
    }
    key.verify(message, signature)
}

#[cfg(test)]
pub(in crate::wire::ssu2) mod tests;
