//! What the payloads of a handshake may have (specification `ssu2`, the Payload sections).

use super::HandshakeError;
use crate::wire::gzip;
use crate::wire::router_info::{MAX_ROUTER_INFO_LEN, RouterInfo};
use crate::wire::ssu2::{Block, Blocks, LongKind, Reason};
use core::net::SocketAddr;

/// What a peer said besides, in the packets of the handshake that were before SessionConfirmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Where the peer sees us.
    pub address: Option<SocketAddr>,
    /// It would have us as introducer.
    pub relay_tag_request: bool,
    /// It is our introducer: what we may publish.
    pub relay_tag: Option<u32>,
    /// For our next connection to it: until when, in seconds since the epoch, and the token.
    pub new_token: Option<(u32, u64)>,
}

/// The content of a payload.
pub(super) struct Content {
    /// The sender's clock.
    pub(super) date: u32,
    /// The sender's refusal.
    pub(super) refusal: Option<Reason>,
    pub(super) told: Told,
}

/// Reads the payload of any packet of the handshake but SessionConfirmed.
pub(super) fn read(kind: LongKind, payload: &[u8]) -> Result<Content, HandshakeError> {
    let mut blocks = Blocks::new(payload);
    // Others refuse all that does not begin with it, and so nobody can send anything else.
    let Block::DateTime(date) = next(&mut blocks)?.ok_or(HandshakeError::Blocks)? else {
        return Err(HandshakeError::Blocks);
    };
    let mut content = Content { date, refusal: None, told: Told::default() };
    while let Some(block) = next(&mut blocks)? {
        if !allowed(kind, &block) {
            return Err(HandshakeError::Blocks);
        }
        let told = &mut content.told;
        if let Block::Address(at) = block {
            told.address = Some(at);
        } else if let Block::RelayTagRequest = block {
            told.relay_tag_request = true;
        } else if let Block::RelayTag(tag) = block {
            told.relay_tag = Some(tag);
        } else if let Block::NewToken { expires, token } = block {
            told.new_token = Some((expires, token));
        } else if let Block::Termination { reason, .. } = block {
            content.refusal = Some(reason);
        }
    }
    Ok(content)
}

/// Whether a packet may have `block` after the DateTime.
fn allowed(kind: LongKind, block: &Block<'_>) -> bool {
    if harmless(block) {
        return true;
    }
    match kind {
        LongKind::SessionRequest => matches!(block, Block::RelayTagRequest),
        // The specification advises against the token here, and some send it.
        LongKind::SessionCreated => matches!(
            block,
            Block::Address(_)
                | Block::RelayTag(_)
                | Block::NewToken { .. }
                | Block::Termination { .. }
        ),
        LongKind::Retry => matches!(block, Block::Address(_) | Block::Termination { .. }),
        LongKind::TokenRequest | LongKind::PeerTest | LongKind::HolePunch => false,
    }
}

/// What says nothing that matters in a handshake, or nothing to us.
fn harmless(block: &Block<'_>) -> bool {
    matches!(
        block,
        Block::Options(_)
            | Block::FirstPacketNumber(_)
            | Block::Congestion { .. }
            | Block::Padding(_)
            | Block::Unknown { .. }
    )
}

/// The content of a SessionConfirmed: the RouterInfo, whether to flood it, and the blocks after it.
pub(super) fn read_confirmed(payload: &[u8]) -> Result<(RouterInfo, bool, &[u8]), HandshakeError> {
    let mut blocks = Blocks::new(payload);
    let first = next(&mut blocks)?.ok_or(HandshakeError::Blocks)?;
    let Block::RouterInfo { flood, gzip, bytes } = first else {
        return Err(HandshakeError::Blocks);
    };
    let rest = payload.get(first.encoded_len()..).ok_or(HandshakeError::Blocks)?;
    while let Some(block) = next(&mut blocks)? {
        let allowed = harmless(&block)
            || matches!(
                block,
                Block::DateTime(_)
                    | Block::Address(_)
                    | Block::Message(_)
                    | Block::FirstFragment { .. }
                    | Block::FollowOn { .. }
                    | Block::NewToken { .. }
                    | Block::RelayTagRequest
                    | Block::RelayRequest(_)
                    | Block::PeerTest(_)
            );
        if !allowed {
            return Err(HandshakeError::Blocks);
        }
    }
    let info = if gzip {
        gzip::gunzip(bytes, MAX_ROUTER_INFO_LEN).and_then(RouterInfo::from_vec)
    } else {
        RouterInfo::decode(bytes)
    };
    Ok((info.map_err(HandshakeError::RouterInfo)?, flood, rest))
}

fn next<'a>(blocks: &mut Blocks<'a>) -> Result<Option<Block<'a>>, HandshakeError> {
    blocks.next().transpose().map_err(HandshakeError::Payload)
}
