//! Streaming packets (specification `streaming`).
//!
//! ```text
//! sendStreamId(4) receiveStreamId(4) sequence(4) ackThrough(4) nackCount(1) nacks(4 each)
//! resendDelay(1) flags(2) optionSize(2) options payload
//! ```
//! There is no length field: a packet is what its payload container holds.

use super::codec::{DecodeError, Put, Reader};
use super::hash::Hash;
use super::identity::Identity;
use super::offline::OfflineSignature;
use crate::crypto::sign::{BadSignature, PublicKey, SigningKey};
use crate::time::UnixTime;
use alloc::vec::Vec;

/// Bytes of a header without NACKs and options.
pub const HEADER_LEN: usize = 22;
/// NACKs that stand for the recipient's hash in the first SYN.
const RECIPIENT_NACKS: usize = 8;
/// The most NACKs that a packet can name.
pub const MAX_NACKS: usize = 255;
/// Bytes of an Ed25519 signature, the only kind that we make.
const SIGNATURE_LEN: usize = 64;
/// A delay above this asks the receiver to stop sending data.
pub const MAX_DELAY: u16 = 60_000;

/// The flags of a packet; unused bits are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u16);

impl Flags {
    /// The first packet of each direction.
    pub const SYNCHRONIZE: Self = Self(0x001);
    /// The last packet of a direction.
    pub const CLOSE: Self = Self(0x002);
    /// The stream is dead.
    pub const RESET: Self = Self(0x004);
    /// The options end with a signature over the whole packet.
    pub const SIGNATURE: Self = Self(0x008);
    /// The options hold the sender's destination.
    pub const FROM: Self = Self(0x020);
    /// The options hold a delay: how long to wait with acks, or a choke.
    pub const DELAY: Self = Self(0x040);
    /// The options hold the largest payload that the sender takes.
    pub const MAX_SIZE: Self = Self(0x080);
    /// A ping or a pong.
    pub const ECHO: Self = Self(0x200);
    /// The ackThrough field means nothing.
    pub const NO_ACK: Self = Self(0x400);
    /// The options hold an offline signature.
    pub const OFFLINE: Self = Self(0x800);

    /// True when all flags of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags and those of `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A received packet: the fields, and views of its variable parts.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The stream, as the receiver of this packet named it; 0 when it has not yet.
    pub send_stream: u32,
    /// The stream, as the sender of this packet named it.
    pub receive_stream: u32,
    /// Which packet of its direction; 0 without SYN means a pure ack.
    pub sequence: u32,
    /// Everything up to here arrived, except the NACKs.
    pub ack_through: u32,
    /// Seconds until the sender would send it again.
    pub resend_delay: u8,
    /// The flags.
    pub flags: Flags,
    /// The data.
    pub payload: &'a [u8],
    nacks: &'a [u8],
    options: &'a [u8],
    raw: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Decodes the frame of a packet; [`Self::options`] decodes what is inside the options, which
    /// takes to know who the sender is.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let send_stream = r.u32()?;
        let receive_stream = r.u32()?;
        let sequence = r.u32()?;
        let ack_through = r.u32()?;
        let nacks = usize::from(r.u8()?) * 4;
        let nacks = r.take(nacks)?;
        let resend_delay = r.u8()?;
        let flags = Flags(r.u16()?);
        let options = r.u16()?;
        let options = r.take(options.into())?;
        let payload = r.rest();
        Ok(Self {
            send_stream,
            receive_stream,
            sequence,
            ack_through,
            resend_delay,
            flags,
            payload,
            nacks,
            options,
            raw: bytes,
        })
    }

    /// True for a SYN.
    #[must_use]
    pub const fn is_syn(&self) -> bool {
        self.flags.has(Flags::SYNCHRONIZE)
    }

    /// True for a pure ack, which takes no sequence number and is never acknowledged.
    #[must_use]
    pub const fn is_pure_ack(&self) -> bool {
        self.sequence == 0 && !self.is_syn()
    }

    /// The sequence numbers below ackThrough that did not arrive. Those of a SYN are a hash
    /// instead: see [`Self::recipient`].
    pub fn nacks(&self) -> impl Iterator<Item = u32> + Clone + use<'a> {
        self.nacks.as_chunks::<4>().0.iter().map(|n| u32::from_be_bytes(*n))
    }

    /// Who a SYN is for, when it says so: a packet for somebody else is a replay.
    #[must_use]
    pub fn recipient(&self) -> Option<Hash> {
        if !self.is_syn() || self.nacks.len() != RECIPIENT_NACKS * 4 {
            return None;
        }
        self.nacks.first_chunk().map(|hash| Hash(*hash))
    }

    /// Decodes the options. `known` is the sender when an earlier packet said who that is: the
    /// length of an offline signature follows from the sender's key.
    pub fn options(&self, known: Option<&Identity>) -> Result<Options<'a>, DecodeError> {
        let mut r = Reader::new(self.options);
        let when = |flag| self.flags.has(flag);
        let delay = when(Flags::DELAY).then(|| r.u16()).transpose()?;
        let from = when(Flags::FROM).then(|| Identity::decode(&mut r)).transpose()?;
        let max_size = when(Flags::MAX_SIZE).then(|| r.u16()).transpose()?;
        let offline = when(Flags::OFFLINE)
            .then(|| {
                let signer = from.as_ref().or(known);
                let signer =
                    signer.ok_or(DecodeError::Invalid("offline signature without FROM"))?;
                OfflineSignature::decode(&mut r, signer.signing_key().kind())
            })
            .transpose()?;
        // The signature is what is left: its type is that of a key that only the caller may know.
        let signature = when(Flags::SIGNATURE).then(|| r.rest());
        r.finish()?;
        Ok(Options { delay, from, max_size, offline, signature })
    }

    /// Verifies the signature over the whole packet, in which the signature's own bytes are zero.
    /// A transient key must be signed by `long_term` and not be past its time at `unix`.
    pub fn verify(
        &self,
        options: &Options<'_>,
        long_term: &PublicKey,
        transient: Option<&OfflineSignature>,
        unix: UnixTime,
    ) -> Result<(), BadSignature> {
        let signature = options.signature.ok_or(BadSignature::Mismatch)?;
        let key = match options.offline.as_ref().or(transient) {
            Some(offline) => {
                if offline.expires <= unix {
                    return Err(BadSignature::Mismatch);
                }
                offline.verify(long_term)?;
                &offline.key
            }
            None => long_term,
        };
        // The signature is the end of the options, and the payload the end of the packet.
        let mut signed = self.raw.to_vec();
        let end = signed.len().saturating_sub(self.payload.len());
        let start = end.saturating_sub(signature.len());
        signed.get_mut(start..end).ok_or(BadSignature::Mismatch)?.fill(0);
        key.verify(&signed, signature)
    }
}

/// What the options of a packet hold, in the order in which they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options<'a> {
    /// Milliseconds that acks may wait; above [`MAX_DELAY`]: send no data.
    pub delay: Option<u16>,
    /// The sender.
    pub from: Option<Identity>,
    /// The largest payload that the sender takes.
    pub max_size: Option<u16>,
    /// The key that signs in place of the sender's.
    pub offline: Option<OfflineSignature>,
    /// The signature, not verified.
    pub signature: Option<&'a [u8]>,
}

/// What stands in the NACK field.
#[derive(Clone, Copy, Debug)]
pub enum Nacks<'a> {
    /// Missing sequence numbers; those after the 255th are left out.
    Missing(&'a [u32]),
    /// The destination that a first SYN is for.
    Recipient(&'a Hash),
}

/// A packet to send. Flags for options are set by the options.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    /// The receiver's name for the stream; 0 when not known yet.
    pub send_stream: u32,
    /// Our name for the stream.
    pub receive_stream: u32,
    /// Which packet; 0 for the SYN and for pure acks.
    pub sequence: u32,
    /// Everything up to here arrived, except the NACKs.
    pub ack_through: u32,
    /// NACKs.
    pub nacks: Nacks<'a>,
    /// Seconds until we would send it again.
    pub resend_delay: u8,
    /// SYNCHRONIZE, CLOSE, RESET, ECHO, NO_ACK.
    pub flags: Flags,
    /// The delay option.
    pub delay: Option<u16>,
    /// The FROM option.
    pub from: Option<&'a Identity>,
    /// The maximum size option.
    pub max_size: Option<u16>,
    /// Sign with this key.
    pub sign: Option<&'a SigningKey>,
    /// The data, in up to two pieces.
    pub payload: [&'a [u8]; 2],
}

impl Default for Outgoing<'_> {
    fn default() -> Self {
        Self {
            send_stream: 0,
            receive_stream: 0,
            sequence: 0,
            ack_through: 0,
            nacks: Nacks::Missing(&[]),
            resend_delay: 0,
            flags: Flags::default(),
            delay: None,
            from: None,
            max_size: None,
            sign: None,
            payload: [&[], &[]],
        }
    }
}

impl Outgoing<'_> {
    /// Appends the packet, signed if there is a key to sign with.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u32(self.send_stream);
        out.put_u32(self.receive_stream);
        out.put_u32(self.sequence);
        out.put_u32(self.ack_through);
        match self.nacks {
            Nacks::Missing(missing) => {
                let count = missing.len().min(MAX_NACKS);
                out.put_u8(count as u8);
                for n in missing.iter().take(count) {
                    out.put_u32(*n);
                }
            }
            Nacks::Recipient(hash) => {
                out.put_u8(RECIPIENT_NACKS as u8);
                out.put(hash.as_bytes());
            }
        }
        out.put_u8(self.resend_delay);
        let flag = |set: bool, flag: Flags| if set { flag } else { Flags::default() };
        let flags = self
            .flags
            .with(flag(self.delay.is_some(), Flags::DELAY))
            .with(flag(self.from.is_some(), Flags::FROM))
            .with(flag(self.max_size.is_some(), Flags::MAX_SIZE))
            .with(flag(self.sign.is_some(), Flags::SIGNATURE));
        out.put_u16(flags.0);
        let options = self.delay.map_or(0, |_| 2)
            + self.from.map_or(0, |from| from.as_bytes().len())
            + self.max_size.map_or(0, |_| 2)
            + self.sign.map_or(0, |_| SIGNATURE_LEN);
        out.put_u16(options as u16);
        if let Some(delay) = self.delay {
            out.put_u16(delay);
        }
        if let Some(from) = self.from {
            out.put(from.as_bytes());
        }
        if let Some(size) = self.max_size {
            out.put_u16(size);
        }
        let signature = out.len();
        if self.sign.is_some() {
            out.put(&[0; SIGNATURE_LEN]);
        }
        for piece in self.payload {
            out.put(piece);
        }
        if let Some(key) = self.sign {
            let signed = out.get(start..).map_or([0; SIGNATURE_LEN], |packet| key.sign(packet));
            if let Some(space) = out.get_mut(signature..).and_then(|s| s.first_chunk_mut()) {
                *space = signed;
            }
        }
    }
}

#[cfg(test)]
mod tests;
