//! The packets that a session gets.

use super::{Session, SessionError, SessionEvent, State};
use crate::crypto::aead;
use crate::time::{Instant, UnixTime};
use crate::wire::codec::DecodeError;
use crate::wire::gzip;
use crate::wire::i2np::Message;
use crate::wire::router_info::{MAX_ROUTER_INFO_LEN, RouterInfo};
use crate::wire::ssu2::{
    Block, Blocks, Header, MIN_MTU, PacketType, Reason, SHORT_HEADER_LEN, ShortHeader, ShortKind,
    protect,
};
use core::net::SocketAddr;
use log::{debug, trace};

/// What a packet's blocks ask for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Blocked {
    pub(super) elicits: bool,
    pub(super) soon: bool,
    pub(super) challenged: bool,
}

impl Session {
    /// Removes the protection of a packet and opens it; gives its number, and whether it asks for an
    /// acknowledgement.
    pub(super) fn open(&mut self, now: Instant, packet: &mut [u8]) -> Option<(u32, bool)> {
        let header = protect::unprotect(packet, self.ours, &self.keys.receive.header);
        let Ok(Header::Short(ShortHeader {
            number, kind: ShortKind::Data { immediate_ack }, ..
        })) = header
        else {
            self.handle_other(now, packet, header);
            return None;
        };
        if self.received.is_known(number) {
            self.stats.repeated += 1;
            return None;
        }
        let (header, sealed) = packet.split_at_mut_checked(SHORT_HEADER_LEN)?;
        if aead::open(&self.keys.receive.data, number.into(), header, sealed).is_err() {
            self.stats.forged += 1;
            return None;
        }
        Some((number, immediate_ack))
    }

    /// A packet that is none of the data phase. SessionConfirmed that comes again says that our acknowledgement
    /// was lost; whoever forges that gets a packet now and then, to where the peer is.
    pub(super) fn handle_other(
        &mut self,
        now: Instant,
        packet: &[u8],
        header: Result<Header, DecodeError>,
    ) {
        let again = match &self.state {
            State::Confirmed { header, .. } => {
                let kind = protect::peek(packet, self.ours, header).map(|h| h.packet_type());
                kind == Ok(PacketType::SessionConfirmed)
            }
            State::Confirming(_) | State::Open | State::Closing { .. } | State::Closed => false,
        };
        if again {
            self.stats.repeated += 1;
            self.received.wants_ack(now, true, None);
        } else {
            trace!("ssu2: not a data packet: {header:?}");
            self.stats.forged += 1;
        }
    }

    /// All blocks of a packet.
    pub(super) fn handle_blocks(
        &mut self,
        now: Instant,
        unix: UnixTime,
        from: SocketAddr,
        payload: &[u8],
    ) -> Result<Blocked, SessionError> {
        let mut blocked = Blocked::default();
        for block in Blocks::new(payload) {
            let block = block.map_err(|error| {
                debug!("ssu2: block: {error}");
                SessionError::Payload
            })?;
            blocked.elicits |= block.elicits_ack();
            match block {
                Block::Message(bytes) => self.handle_message(now, bytes),
                Block::FirstFragment { message, bytes } => {
                    self.handle_part(now, message, 0, false, bytes);
                }
                Block::FollowOn { number, last, message, bytes } => {
                    self.handle_part(now, message, number, last, bytes);
                }
                Block::Ack(ack) => {
                    let news = self.flight.handle_ack(now, &ack).map_err(|_| SessionError::Ack)?;
                    if news {
                        self.active = now;
                    }
                }
                Block::RouterInfo { flood, gzip, bytes } => {
                    self.handle_router_info(flood, gzip, bytes);
                }
                Block::DateTime(seconds) => {
                    let skew = i64::from(seconds) - i64::from(unix.as_secs_rounded());
                    self.tell(SessionEvent::Skew(skew));
                }
                Block::Address(address) => self.tell(SessionEvent::Address(address)),
                Block::NewToken { expires, token } => {
                    self.tell(SessionEvent::NewToken { token, expires });
                }
                // One a packet, so that the answer is hardly longer than that, wherever it goes.
                Block::PathChallenge(data) => {
                    if !core::mem::replace(&mut blocked.challenged, true) {
                        self.route.handle_challenge(from, data);
                    }
                }
                Block::PathResponse(data) => self.handle_response(now, from, data),
                Block::Termination { reason, .. } => return Err(SessionError::Terminated(reason)),
                Block::Congestion { immediate_ack, .. } => blocked.soon |= immediate_ack,
                // Neither introductions nor peer tests are ours to make yet: whoever asks gets no answer,
                // as from a router that has others to serve.
                Block::RelayRequest(_)
                | Block::RelayResponse(_)
                | Block::RelayIntro(_)
                | Block::PeerTest(_)
                | Block::RelayTagRequest
                | Block::RelayTag(_)
                | Block::Options(_)
                | Block::FirstPacketNumber(_)
                | Block::Padding(_)
                | Block::Unknown { .. } => {}
            }
        }
        Ok(blocked)
    }

    /// A challenge came back.
    pub(super) fn handle_response(&mut self, now: Instant, from: SocketAddr, data: &[u8]) {
        if self.route.handle_response(from, data) {
            self.flight.moved(now);
            self.mtu = MIN_MTU;
            self.shrunk = Some(now);
            self.tell(SessionEvent::Moved(from));
        }
    }

    pub(super) fn handle_part(
        &mut self,
        now: Instant,
        message: u32,
        number: u8,
        last: bool,
        bytes: &[u8],
    ) {
        if self.recent.is_known(now, message) {
            // A part of what is whole by now: it would wait in vain, in the place of others.
            self.stats.repeated_messages += 1;
        } else if let Some(whole) = self.reassembly.handle(now, message, number, last, bytes) {
            self.handle_message(now, &whole);
        }
    }

    pub(super) fn handle_message(&mut self, now: Instant, bytes: &[u8]) {
        let Ok(message) = Message::decode_short(bytes) else {
            self.stats.malformed += 1;
            return;
        };
        if self.recent.is_new(now, message.id) {
            self.stats.messages_in += 1;
            self.tell(SessionEvent::Message(message));
        } else {
            self.stats.repeated_messages += 1;
        }
    }

    pub(super) fn handle_router_info(&mut self, flood: bool, gzipped: bool, bytes: &[u8]) {
        let decoded = if gzipped {
            gzip::gunzip(bytes, MAX_ROUTER_INFO_LEN).and_then(|bytes| RouterInfo::decode(&bytes))
        } else {
            RouterInfo::decode(bytes)
        };
        match decoded {
            Ok(info) => self.tell(SessionEvent::RouterInfo { info, flood }),
            Err(_) => self.stats.malformed += 1,
        }
    }

    /// A packet came while we say goodbye. Only the peer's own goodbye matters.
    pub(super) fn handle_late(&mut self, now: Instant, payload: &[u8]) {
        let ends = |b: Result<Block<'_>, _>| matches!(b, Ok(Block::Termination { .. }));
        let State::Closing { reason, left, next, .. } = &mut self.state else { return };
        if Blocks::new(payload).any(ends) {
            if *reason == Reason::TerminationReceived {
                // It has not heard ours, which goes again if it went long enough ago.
                *left = 1;
                *next = now.max(*next);
            } else {
                *left = 0;
                self.state = State::Closed;
            }
        }
    }
}
