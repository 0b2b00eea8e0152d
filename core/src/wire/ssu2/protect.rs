//! Header protection (specification `ssu2`, Header Encryption KDF).
//!
//! Two keys hide a header. The first masks the receiver's id, bytes 0 to 7, the second the rest of the first 16
//! bytes; each mask is the start of a ChaCha20 stream whose nonce is a sample, 12 of the last 24 bytes of the
//! packet as it is sent. In packets with a long header the second key also encrypts what follows up to the payload:
//! the other half of the header, and the ephemeral key where there is one. The nonce there is zero. All
//! streams start at block 1.
//!
//! Which keys: `intro` is the key in a router's address.
//!
//! | packet | first key | second key |
//! | --- | --- | --- |
//! | SessionRequest, TokenRequest, Retry | Bob's intro | Bob's intro |
//! | SessionCreated, SessionConfirmed | Bob's intro | from the handshake |
//! | Data | the receiver's intro | from the handshake, one for each direction |
//! | PeerTest, HolePunch | the receiver's intro | the receiver's intro |
//!
//! So a receiver tries its own intro key on the id, and that of whoever it is connecting to at the sender's
//! address. The id tells which second keys come into question. Nothing here authenticates: a wrong key
//! gives a header of noise, which is one of a known type in one case of 32.

use super::header::{ConnectionId, Header};
use super::{KEY_LEN, LONG_HEADER_LEN, MIN_PACKET_LEN, PacketType, SHORT_HEADER_LEN};
use crate::crypto::{Key32, chacha20};
use crate::wire::codec::{DecodeError, Reader};

/// Bytes of one sample.
const SAMPLE_LEN: usize = 12;
/// Bytes at the end of a packet that the masks depend on.
pub const SAMPLES_LEN: usize = 2 * SAMPLE_LEN;
/// Where the receiver's id ends.
const ID_LEN: usize = 8;
/// The most bytes that are protected.
const MAX_LEN: usize = LONG_HEADER_LEN + KEY_LEN;

/// The receiver's id of a protected packet, which stays as it is.
pub fn destination(packet: &[u8], first: &Key32) -> Result<ConnectionId, DecodeError> {
    let (sample, _) = samples(packet)?;
    let id = packet.first_chunk::<ID_LEN>().ok_or(DecodeError::Truncated)?;
    Ok(ConnectionId(u64::from_be_bytes(*id) ^ u64::from_be_bytes(mask(first, sample))))
}

/// The header of a protected packet, which stays as it is: for who has more than one key to try.
pub fn peek(
    packet: &[u8],
    destination: ConnectionId,
    second: &Key32,
) -> Result<Header, DecodeError> {
    clear(packet, destination, second).map(|(header, _)| header)
}

/// Removes the protection of a packet whose [`destination`] is known: afterwards its first bytes are the
/// header, and the ephemeral key where there is one. After an error the packet is as it was.
pub fn unprotect(
    packet: &mut [u8],
    destination: ConnectionId,
    second: &Key32,
) -> Result<Header, DecodeError> {
    let (header, plain) = clear(packet, destination, second)?;
    let len = header.packet_type().protected_len();
    for (to, from) in packet.iter_mut().zip(plain).take(len) {
        *to = from;
    }
    Ok(header)
}

/// Protects a packet that is complete, with its header (and key) in the clear and its payload sealed.
pub fn protect(packet: &mut [u8], first: &Key32, second: &Key32) -> Result<(), DecodeError> {
    let kind = Header::decode(&mut Reader::new(packet))?.packet_type();
    if packet.len() < kind.min_len() {
        return Err(DecodeError::Truncated);
    }
    let (for_first, for_second) = samples(packet)?;
    let masks = [mask(first, for_first), mask(second, for_second)];
    for (byte, mask) in packet.iter_mut().zip(masks.as_flattened()) {
        *byte ^= mask;
    }
    if let Some(rest) = packet.get_mut(SHORT_HEADER_LEN..kind.protected_len()) {
        chacha20::apply(second, &[0; 12], rest);
    }
    Ok(())
}

/// The header, and as many first bytes without protection as its type has, then zeros.
fn clear(
    packet: &[u8],
    destination: ConnectionId,
    second: &Key32,
) -> Result<(Header, [u8; MAX_LEN]), DecodeError> {
    let (_, sample) = samples(packet)?;
    let masks = [mask(second, sample)];
    let mut plain = [0; MAX_LEN];
    let (id, rest) = plain.split_first_chunk_mut::<ID_LEN>().ok_or(DecodeError::Truncated)?;
    *id = destination.0.to_be_bytes();
    let protected = packet.get(ID_LEN..SHORT_HEADER_LEN).ok_or(DecodeError::Truncated)?;
    for ((to, from), mask) in rest.iter_mut().zip(protected).zip(masks.as_flattened()) {
        *to = from ^ mask;
    }
    // The type byte, behind the packet's number.
    let kind = rest.get(4).copied().and_then(PacketType::from_code);
    let kind = kind.ok_or(DecodeError::Invalid("SSU2 packet type"))?;
    if packet.len() < kind.min_len() {
        return Err(DecodeError::Truncated);
    }
    let range = SHORT_HEADER_LEN..kind.protected_len();
    if let (Some(to), Some(from)) = (plain.get_mut(range.clone()), packet.get(range))
        && !from.is_empty()
    {
        to.copy_from_slice(from);
        chacha20::apply(second, &[0; 12], to);
    }
    Ok((Header::decode(&mut Reader::new(&plain))?, plain))
}

/// The two samples at the end of a packet.
fn samples(packet: &[u8]) -> Result<(&[u8; SAMPLE_LEN], &[u8; SAMPLE_LEN]), DecodeError> {
    if packet.len() < MIN_PACKET_LEN {
        return Err(DecodeError::Truncated);
    }
    let (rest, second) = packet.split_last_chunk().ok_or(DecodeError::Truncated)?;
    let (_, first) = rest.split_last_chunk().ok_or(DecodeError::Truncated)?;
    Ok((first, second))
}

fn mask(key: &Key32, sample: &[u8; SAMPLE_LEN]) -> [u8; 8] {
    let mut mask = [0; 8];
    chacha20::apply(key, sample, &mut mask);
    mask
}

#[cfg(test)]
mod tests;
