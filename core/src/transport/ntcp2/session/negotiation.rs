//! The handshake states of both roles behind one door.

use super::super::handshake::{Established, HEAD_LEN, HandshakeError, initiator, responder};
use super::super::replay::ReplayCache;
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};
use crate::transport::Peer;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// What the handshake waits for.
pub(super) enum Negotiation {
    /// A chance to write message 1.
    Start(Box<initiator::Start>),
    AwaitCreated(Box<initiator::AwaitCreated>),
    AwaitCreatedPadding(Box<initiator::AwaitPadding>),
    AwaitRequest(responder::AwaitRequest),
    AwaitRequestPadding(Box<responder::AwaitPadding>),
    AwaitConfirmed(Box<responder::AwaitConfirmed>),
}

/// Where a step leads.
pub(super) enum Step {
    Next(Negotiation),
    Done(Established, Peer),
    /// No session. A prober may look on: read on for a while.
    Probed(HandshakeError),
    /// No session.
    Failed(HandshakeError),
    /// No session, but keys with which the peer can be told why.
    Refused(Established, HandshakeError),
}

/// What a step may use.
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) unix: UnixTime,
    pub(super) replay: &'a mut ReplayCache,
    pub(super) rng: &'a mut Rng,
    /// Where the next message of ours goes.
    pub(super) out: &'a mut Vec<u8>,
    /// Bytes follow the message.
    pub(super) more: bool,
}

impl Negotiation {
    /// Bytes of the message that it waits for; `None` when it is our turn.
    pub(super) fn message_len(&self) -> Option<usize> {
        match self {
            Self::Start(_) => None,
            Self::AwaitRequest(_) | Self::AwaitCreated(_) => Some(HEAD_LEN),
            Self::AwaitCreatedPadding(state) => Some(state.padding()),
            Self::AwaitRequestPadding(state) => Some(state.padding()),
            Self::AwaitConfirmed(state) => Some(state.message_len()),
        }
    }

    /// Takes a message of exactly that length.
    pub(super) fn step(self, cx: &mut Context<'_>, message: &mut [u8]) -> Step {
        match self {
            Self::AwaitRequest(state) => {
                let Some(head) = message.first_chunk_mut::<HEAD_LEN>() else {
                    return Step::Probed(HandshakeError::RequestTag);
                };
                match state.handle_head(cx.unix, cx.replay, head) {
                    Ok(next) => Step::Next(Self::AwaitRequestPadding(Box::new(next))),
                    Err(error) => Step::Probed(error),
                }
            }
            // Each waits for an answer before it may send more ("SessionRequest" and
            // "SessionCreated", notes).
            Self::AwaitRequestPadding(_) if cx.more => Step::Probed(HandshakeError::Extra),
            Self::AwaitCreatedPadding(_) if cx.more => Step::Failed(HandshakeError::Extra),
            Self::AwaitRequestPadding(state) => {
                match state.create(cx.now, cx.unix, message, cx.rng, cx.out) {
                    Ok(responder::Created::Await(next)) => {
                        Step::Next(Self::AwaitConfirmed(Box::new(next)))
                    }
                    Ok(responder::Created::Skewed(skew)) => {
                        Step::Failed(HandshakeError::ClockSkew(skew))
                    }
                    Err(error) => Step::Probed(error),
                }
            }
            Self::AwaitConfirmed(state) => match state.handle_message(cx.now, cx.unix, message) {
                Ok(responder::Confirmed { established, router_info }) => match router_info {
                    Ok((info, flood)) => Step::Done(established, Peer::Inbound { info, flood }),
                    Err(error) => Step::Refused(established, error),
                },
                Err(error) => Step::Failed(error),
            },
            Self::AwaitCreated(state) => {
                let Some(head) = message.first_chunk_mut::<HEAD_LEN>() else {
                    return Step::Failed(HandshakeError::CreatedTag);
                };
                match state.handle_head(cx.now, cx.unix, head) {
                    Ok(next) => Step::Next(Self::AwaitCreatedPadding(Box::new(next))),
                    Err(error) => Step::Failed(error),
                }
            }
            Self::AwaitCreatedPadding(state) => match state.confirm(message, cx.out) {
                Ok((established, peer)) => Step::Done(established, Peer::Outbound(peer)),
                Err(error) => Step::Failed(error),
            },
            Self::Start(_) => Step::Failed(HandshakeError::Extra),
        }
    }
}
