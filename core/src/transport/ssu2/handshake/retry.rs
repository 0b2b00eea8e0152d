//! What goes without a state: TokenRequest, and Retry (specification `ssu2`).
//!
//! Both are sealed with Bob's intro key, which everybody knows, so that Bob can answer whom he knows nothing of at
//! the cost of two short symmetric operations.

use super::super::Local;
use super::payload::{self, Content};
use super::{HandshakeError, Ids, acceptable, long_header, packet_len, pad};
use crate::crypto::Key32;
use crate::crypto::aead::{self, TAG_LEN};
use crate::rng::Rng;
use crate::time::UnixTime;
use crate::transport::checks::{skew, tolerable};
use crate::wire::codec::Put;
use crate::wire::ssu2::{
    Block, LONG_HEADER_LEN, LongHeader, LongKind, Reason, WriteError, Writer, protect,
};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::num::NonZeroU64;
use core::time::Duration;

/// How long a Retry with padding may be, in percent of its question: who asks with somebody else's address makes
/// us send him hardly more than he would send himself.
const MAX_GROWTH: usize = 150;

/// A TokenRequest or SessionRequest as it arrived: all that an answer depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its header.
    pub header: LongHeader,
    /// Bytes of the datagram.
    pub len: usize,
    /// Whence it came.
    pub from: SocketAddr,
}

/// What a Retry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Try again with this.
    Token(NonZeroU64),
    /// Do not.
    Refused(Reason),
}

/// Opens a TokenRequest whose header is `header` and no longer protected. Returns the seconds that the sender's clock
/// is ahead of ours, which are no reason for another answer than a token as long as they are few.
///
/// To be answered with a [`retry`]; after an error only if it has a [`HandshakeError::reason`], and even then not
/// necessarily.
pub fn token_request(
    local: &Local,
    unix: UnixTime,
    header: &LongHeader,
    packet: &mut [u8],
) -> Result<i64, HandshakeError> {
    if header.kind != LongKind::TokenRequest || !acceptable(header, local.net_id()) {
        return Err(HandshakeError::Unexpected);
    }
    let Content { date, .. } = open(header, local.intro(), packet)?;
    match skew(date, unix, Duration::ZERO) {
        skew if tolerable(skew) => Ok(skew),
        skew => Err(HandshakeError::ClockSkew(skew)),
    }
}

/// Appends a Retry. It has half as many bytes more than the question at most, or 88, which a refusal over IPv6 has
/// at least.
///
/// An error when a question of this kind gets no answer: nobody is told that there is a router who is not in
/// our network and speaks our version.
pub fn retry(
    local: &Local,
    asked: &Asked,
    answer: Answer,
    unix: UnixTime,
    rng: &mut Rng,
    out: &mut Vec<u8>,
) -> Result<(), HandshakeError> {
    let Asked { header, len, from } = *asked;
    let question = matches!(header.kind, LongKind::SessionRequest | LongKind::TokenRequest);
    let ids = Ids::new(header.destination, header.source);
    let (true, true, Some(ids)) = (question, acceptable(&header, local.net_id()), ids) else {
        return Err(HandshakeError::Unexpected);
    };
    let token = match answer {
        Answer::Token(token) => token.get(),
        Answer::Refused(_) => 0,
    };
    let header = long_header(LongKind::Retry, ids, token, local.net_id(), rng);
    let most = len.saturating_mul(MAX_GROWTH) / 100;
    let mut payload = Vec::with_capacity(128);
    let written = content(answer, from, unix, most, rng, &mut payload);
    written.map_err(|_| HandshakeError::Blocks)?;
    out.put(&seal(&header, local.intro(), payload));
    Ok(())
}

fn content(
    answer: Answer,
    from: SocketAddr,
    unix: UnixTime,
    most: usize,
    rng: &mut Rng,
    payload: &mut Vec<u8>,
) -> Result<(), WriteError> {
    let overhead = LONG_HEADER_LEN + TAG_LEN;
    let mut writer = Writer::new(payload, packet_len(from).saturating_sub(overhead));
    writer.put(&Block::DateTime(unix.as_secs_rounded()))?;
    writer.put(&Block::Address(SocketAddr::new(from.ip().to_canonical(), from.port())))?;
    if let Answer::Refused(reason) = answer {
        writer.put(&Block::Termination { packets: 0, reason })?;
    }
    let room = most.saturating_sub(overhead + writer.written());
    pad(&mut writer, room, rng)
}

/// A packet that is sealed with an intro key, protected.
pub(super) fn seal(header: &LongHeader, intro: &Key32, mut payload: Vec<u8>) -> Vec<u8> {
    let mut packet = Vec::with_capacity(LONG_HEADER_LEN + payload.len() + TAG_LEN);
    header.encode(&mut packet);
    let tag = aead::seal(intro, header.number.into(), &packet, &mut payload);
    packet.put(&payload);
    packet.put(&tag);
    // It is long enough: the payload has more than 8 bytes.
    let _protected = protect::protect(&mut packet, intro, intro);
    packet
}

/// Opens one whose header is no longer protected.
pub(super) fn open(
    header: &LongHeader,
    intro: &Key32,
    packet: &mut [u8],
) -> Result<Content, HandshakeError> {
    let (head, sealed) = packet.split_at_mut_checked(LONG_HEADER_LEN).ok_or(HandshakeError::Tag)?;
    let text = aead::open(intro, header.number.into(), head, sealed);
    payload::read(header.kind, text.map_err(|_| HandshakeError::Tag)?)
}
