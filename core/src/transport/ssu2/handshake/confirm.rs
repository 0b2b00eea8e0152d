//! Making SessionConfirmed (specification `ssu2`, Session Confirmed Fragmentation).

use super::super::{DataKeys, Local};
use super::{HandshakeError, confirmed_key, packet_len, pad};
use crate::crypto::Key32;
use crate::crypto::aead::TAG_LEN;
use crate::crypto::noise::SymmetricState;
use crate::crypto::x25519::PublicKey;
use crate::rng::Rng;
use crate::wire::codec::Put;
use crate::wire::gzip;
use crate::wire::ssu2::protect::{self, SAMPLES_LEN};
use crate::wire::ssu2::{
    Block, ConnectionId, Fragment, SEALED_KEY_LEN, SHORT_HEADER_LEN, ShortHeader, ShortKind, Writer,
};
use alloc::vec::Vec;
use core::net::SocketAddr;

/// Bytes of a SessionConfirmed that are neither header nor payload: the sealed key, and the payload's tag.
const OVERHEAD: usize = SEALED_KEY_LEN + TAG_LEN;

/// Bytes behind the header of a packet to `at`.
fn room(at: SocketAddr) -> usize {
    packet_len(at).saturating_sub(SHORT_HEADER_LEN)
}

/// The block with our RouterInfo, for a peer at `at`. As it is if one packet has room for that, which everybody
/// takes; not everybody takes it compressed, and fewer in two packets, which is the most that some take.
pub(super) fn router_info_block(info: &[u8], at: SocketAddr) -> Result<Vec<u8>, HandshakeError> {
    let one = room(at).saturating_sub(OVERHEAD);
    let plain = Block::RouterInfo { flood: false, gzip: false, bytes: info };
    let mut out = Vec::new();
    if Writer::new(&mut out, one).put(&plain).is_ok() {
        return Ok(out);
    }
    let compressed = gzip::gzip(info);
    let small = Block::RouterInfo { flood: false, gzip: true, bytes: &compressed };
    let least = if small.encoded_len() < plain.encoded_len() { small } else { plain };
    let written = Writer::new(&mut out, one + room(at)).put(&least);
    written.map_err(|_| HandshakeError::OwnRouterInfo)?;
    Ok(out)
}

/// What SessionConfirmed is made of.
pub(super) struct SessionConfirmed<'a> {
    pub(super) local: &'a Local,
    /// Where the peer is.
    pub(super) at: SocketAddr,
    /// Its intro key.
    pub(super) intro: &'a Key32,
    /// Its id.
    pub(super) to: ConnectionId,
    /// The RouterInfo.
    pub(super) block: &'a [u8],
}

impl SessionConfirmed<'_> {
    /// The keys, and the packets, one or two; `noise` is the state after SessionCreated, whose key is `y`.
    pub(super) fn make(
        &self,
        mut noise: SymmetricState,
        y: &PublicKey,
        rng: &mut Rng,
    ) -> Result<(DataKeys, Vec<Vec<u8>>), HandshakeError> {
        let key = confirmed_key(&noise);
        let payload = self.payload(rng)?;
        let room = room(self.at);
        let len = OVERHEAD + payload.len();
        let total = if len <= room { 1 } else { 2 };
        // The last one has to have as much as header protection needs.
        let first = room.min(if total == 1 { len } else { len.saturating_sub(SAMPLES_LEN) });

        noise.mix_hash(&self.header(0, total)?);
        let mut sealed = Vec::with_capacity(len);
        sealed.put(&self.local.static_public().0);
        noise.encrypt_and_hash(&mut sealed, 0);
        let shared = self.local.static_key().diffie_hellman(y);
        noise.mix_key(&shared.map_err(|_| HandshakeError::EphemeralKey)?);
        sealed.put(&payload);
        noise.encrypt_and_hash(&mut sealed, SEALED_KEY_LEN);

        let (head, tail) = sealed.split_at_checked(first).unwrap_or((&sealed, &[]));
        let mut packets = Vec::with_capacity(total.into());
        for (number, piece) in (0..total).zip([head, tail]) {
            let mut packet = self.header(number, total)?;
            packet.put(piece);
            let protected = protect::protect(&mut packet, self.intro, &key);
            protected.map_err(HandshakeError::Payload)?;
            packets.push(packet);
        }
        Ok((DataKeys::for_initiator(&noise), packets))
    }

    /// The blocks. Padding never makes another packet necessary.
    fn payload(&self, rng: &mut Rng) -> Result<Vec<u8>, HandshakeError> {
        let one = room(self.at).saturating_sub(OVERHEAD);
        let most = if self.block.len() <= one { one } else { one + room(self.at) };
        let mut payload = self.block.to_vec();
        let left = most.saturating_sub(payload.len());
        let mut writer = Writer::new(&mut payload, left);
        pad(&mut writer, left, rng).map_err(|_| HandshakeError::OwnRouterInfo)?;
        Ok(payload)
    }

    fn header(&self, number: u8, total: u8) -> Result<Vec<u8>, HandshakeError> {
        let fragment = Fragment::new(number, total).ok_or(HandshakeError::OwnRouterInfo)?;
        let kind = ShortKind::SessionConfirmed(fragment);
        let mut out = Vec::with_capacity(packet_len(self.at));
        ShortHeader { destination: self.to, number: 0, kind }.encode(&mut out);
        Ok(out)
    }
}
