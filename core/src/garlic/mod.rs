//! Garlic encryption: the ECIES-X25519-AEAD ratchet between destinations, one-time garlic for
//! routers (specifications `ecies` and `ecies-routers`).
//!
//! All functions take and give the **body of a Garlic message**: its four-byte length and the
//! encrypted data. Bodies are decrypted in place.

pub mod ecies;
pub mod reply;
pub mod router;

use crate::crypto::aead::BadTag;
use crate::crypto::x25519::LowOrder;
use crate::rng::Rng;
use crate::time::UnixTime;
use crate::wire::codec::{DecodeError, Put, Reader};
use crate::wire::garlic::{
    BLOCK_HEADER_LEN, Block, Clove, DATE_TIME_BLOCK_LEN, Delivery, MessageNumber, NextKey,
};
use crate::wire::i2np::{MAX_BODY_LEN, MessageType};
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use core::time::Duration;

/// Cloves in one message at most, both ways.
pub const MAX_CLOVES: usize = 32;
/// How old a dated message may be (specification `ecies`, "Parameters").
pub const MAX_AGE: Duration = Duration::from_secs(5 * 60);
/// How far in the future a dated message may be.
pub const MAX_AHEAD: Duration = Duration::from_secs(2 * 60);
/// Bytes of the length in front of the encrypted data.
const LENGTH_LEN: usize = 4;
/// Padding is below this.
const MAX_PADDING: usize = 16;
/// The most garlic data that leaves a tunnel message's other headers room in two of them (as
/// i2pd counts: 1956 without the I2NP header, the length and what encryption adds).
const TWO_CELLS: usize = 1936;

/// Why a garlic message could not be opened. Nothing but a counter and a log line follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Not encrypted to us, forged, damaged, or for a session that is gone.
    #[error("does not decrypt")]
    Undecryptable,
    /// Decrypted, but the sender wrote nonsense.
    #[error("malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// The sender put garlic for us inside of garlic.
    #[error("nested garlic")]
    Nested,
    /// Seen before.
    #[error("replayed")]
    Replayed,
    /// The sender's clock, or ours, or the message's age is off.
    #[error("dated outside of the allowed span")]
    BadDate,
    /// A new session without a date, which could be replayed for ever.
    #[error("new session without a date")]
    NoDate,
    /// The sender used a public key of low order.
    #[error("public key of low order")]
    LowOrder,
    /// More new sessions than we are willing to compute; nobody's fault.
    #[error("too many new sessions")]
    Throttled,
}

impl From<BadTag> for OpenError {
    fn from(_: BadTag) -> Self {
        Self::Undecryptable
    }
}

impl From<LowOrder> for OpenError {
    fn from(_: LowOrder) -> Self {
        Self::LowOrder
    }
}

/// Why a garlic message could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Too many or too large cloves: the caller's mistake.
    #[error("{0}")]
    TooLarge(DecodeError),
    /// The receiver published a public key of low order.
    #[error("public key of low order")]
    LowOrder,
    /// No encodable ephemeral key was found: a broken random source.
    #[error("no ephemeral key")]
    NoKey,
}

impl From<LowOrder> for SealError {
    fn from(_: LowOrder) -> Self {
        Self::LowOrder
    }
}

/// The encrypted data of `body`, whose length prefix must be right.
fn open_body(body: &mut [u8]) -> Result<&mut [u8], DecodeError> {
    let (length, data) =
        body.split_first_chunk_mut::<LENGTH_LEN>().ok_or(DecodeError::Truncated)?;
    let length = usize::try_from(u32::from_be_bytes(*length))
        .map_err(|_| DecodeError::TooLarge("garlic"))?;
    match data.len() {
        have if have < length => Err(DecodeError::Truncated),
        have if have > length => Err(DecodeError::Trailing),
        _ => Ok(data),
    }
}

/// An empty body, with room for the length.
fn new_body(capacity: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(LENGTH_LEN.saturating_add(capacity));
    body.put_u32(0);
    body
}

/// Writes the length in front of what was appended since [`new_body`].
fn finish_body(body: &mut [u8]) -> Result<(), SealError> {
    let length = body.len().saturating_sub(LENGTH_LEN);
    let too_large = SealError::TooLarge(DecodeError::TooLarge("garlic"));
    if body.len() > MAX_BODY_LEN {
        return Err(too_large);
    }
    let length = u32::try_from(length).map_err(|_| too_large)?;
    if let Some(prefix) = body.first_chunk_mut::<LENGTH_LEN>() {
        *prefix = length.to_be_bytes();
    }
    Ok(())
}

/// Bytes that `cloves` take as blocks; refuses too many or too large ones.
fn cloves_len(cloves: &[Clove]) -> Result<usize, SealError> {
    if cloves.len() > MAX_CLOVES {
        return Err(SealError::TooLarge(DecodeError::TooLarge("clove count")));
    }
    let len = cloves.iter().fold(0_usize, |n, clove| n.saturating_add(clove.block_len()));
    if len > MAX_BODY_LEN {
        return Err(SealError::TooLarge(DecodeError::TooLarge("garlic")));
    }
    Ok(len)
}

fn put_cloves(cloves: &[Clove], out: &mut Vec<u8>) -> Result<(), SealError> {
    cloves.iter().try_for_each(|clove| clove.encode_block(out)).map_err(SealError::TooLarge)
}

/// Appends a padding block with up to 15 zeros to the payload `out[from..]`, unless that would
/// push a message into one tunnel message more. `overhead`: what encryption adds to the payload.
fn pad(rng: &mut Rng, overhead: usize, from: usize, out: &mut Vec<u8>) {
    let len = out.len().saturating_sub(from);
    let room = TWO_CELLS.saturating_sub(overhead);
    let limit = match room.checked_sub(len) {
        Some(left) if left < BLOCK_HEADER_LEN => return,
        Some(left) => (left - BLOCK_HEADER_LEN + 1).min(MAX_PADDING),
        None => MAX_PADDING,
    };
    // A block of at most 15 bytes always encodes.
    let _ = Block::Padding(rng.index(limit)).encode(out);
}

/// What the blocks of a decrypted payload say.
#[derive(Debug, Default)]
struct Payload {
    sent: Option<UnixTime>,
    cloves: Vec<Clove>,
    next_keys: ArrayVec<NextKey, 2>,
    acks: Vec<MessageNumber>,
    ack_requested: bool,
    terminated: bool,
}

impl Payload {
    fn decode(bytes: &[u8]) -> Result<Self, OpenError> {
        let mut r = Reader::new(bytes);
        let mut payload = Self::default();
        while !r.is_empty() {
            match Block::decode(&mut r)? {
                Block::DateTime(time) => payload.sent = Some(time),
                Block::Clove(clove) => payload.push_clove(clove)?,
                Block::NextKey(next) => payload
                    .next_keys
                    .try_push(next)
                    .map_err(|_| DecodeError::TooLarge("next key count"))?,
                Block::Ack(mut acks) => payload.acks.append(&mut acks),
                Block::AckRequest => payload.ack_requested = true,
                Block::Termination { .. } => payload.terminated = true,
                // The tag window already forgets what the previous number would let us forget.
                Block::PreviousNumber(_)
                | Block::Options(_)
                | Block::Padding(_)
                | Block::Unknown { .. } => {}
            }
        }
        Ok(payload)
    }

    fn push_clove(&mut self, clove: Clove) -> Result<(), OpenError> {
        if self.cloves.len() >= MAX_CLOVES {
            return Err(DecodeError::TooLarge("clove count").into());
        }
        let ours = matches!(clove.delivery, Delivery::Local | Delivery::Destination(_));
        if ours && clove.message.kind == MessageType::GARLIC {
            return Err(OpenError::Nested);
        }
        self.cloves.push(clove);
        Ok(())
    }

    /// An error if the payload is dated, but not about now.
    fn check_date(&self, unix: UnixTime) -> Result<(), OpenError> {
        match self.sent {
            Some(sent) if sent + MAX_AGE < unix || sent > unix + MAX_AHEAD => {
                Err(OpenError::BadDate)
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rng::Seed;
    use crate::wire::hash::Hash;
    use crate::wire::i2np::Message;
    use alloc::vec;

    /// A clove with `text` for a destination.
    pub(crate) fn clove(text: &[u8]) -> Clove {
        let expires = UnixTime::from_secs(1_800_000_000);
        Clove {
            delivery: Delivery::Destination(Hash([9; 32])),
            message: Message { kind: MessageType::DATA, id: 1, expires, body: text.to_vec() },
        }
    }

    #[test]
    fn a_body_with_a_wrong_length_is_refused() {
        for (length, want) in
            [(4, Err(DecodeError::Truncated)), (2, Err(DecodeError::Trailing)), (3, Ok(3))]
        {
            let mut body = vec![0, 0, 0, length, 1, 2, 3];
            assert_eq!(open_body(&mut body).map(|data| data.len()), want);
        }
        for cut in 0..4 {
            assert_eq!(open_body(&mut vec![0; cut]), Err(DecodeError::Truncated));
        }
    }

    #[test]
    fn too_many_cloves_are_refused_both_ways() {
        let cloves = vec![clove(b"x"); MAX_CLOVES + 1];
        assert!(cloves_len(&cloves).is_err());
        let mut bytes = Vec::new();
        put_cloves(&cloves, &mut bytes).unwrap();
        assert!(matches!(Payload::decode(&bytes), Err(OpenError::Malformed(_))));
        assert_eq!(Payload::decode(&bytes[clove(b"x").block_len()..]).unwrap().cloves.len(), 32);
    }

    #[test]
    fn garlic_for_us_inside_of_garlic_is_refused_but_passed_on_for_others() {
        let mut inner = clove(b"x");
        inner.message.kind = MessageType::GARLIC;
        for (delivery, accepted) in [
            (Delivery::Local, false),
            (Delivery::Destination(Hash([1; 32])), false),
            (Delivery::Router(Hash([1; 32])), true),
            (Delivery::Tunnel { gateway: Hash([1; 32]), tunnel: 1 }, true),
        ] {
            inner.delivery = delivery;
            let mut bytes = Vec::new();
            inner.encode_block(&mut bytes).unwrap();
            assert_eq!(Payload::decode(&bytes).is_ok(), accepted);
        }
    }

    #[test]
    fn padding_never_costs_a_tunnel_message() {
        let mut rng = Rng::new(&Seed::from_number(1));
        for len in 1800..2100 {
            let mut out = vec![1; len];
            pad(&mut rng, 24, 0, &mut out);
            assert!(out.len() < len + BLOCK_HEADER_LEN + MAX_PADDING);
            assert_eq!(out.len() + 24 > TWO_CELLS, len + 24 > TWO_CELLS, "{len}");
            assert!(len + 24 > TWO_CELLS - 3 || out.len() > len);
        }
    }
}
