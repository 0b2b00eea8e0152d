//! The layout of each block's content.

use super::{Ack, Block, Options, Reason};
use crate::wire::codec::{DecodeError, Put, Reader};
use crate::wire::i2np::SHORT_HEADER_LEN;
use crate::wire::ssu2::signed::{PeerTest, RelayIntro, RelayRequest, RelayResponse};
use crate::wire::ssu2::{BLOCK_HEADER_LEN, endpoint};
use alloc::vec::Vec;

const DATE_TIME: u8 = 0;
const OPTIONS: u8 = 1;
const ROUTER_INFO: u8 = 2;
pub(super) const MESSAGE: u8 = 3;
const FIRST_FRAGMENT: u8 = 4;
const FOLLOW_ON: u8 = 5;
pub(super) const TERMINATION: u8 = 6;
const RELAY_REQUEST: u8 = 7;
const RELAY_RESPONSE: u8 = 8;
const RELAY_INTRO: u8 = 9;
const PEER_TEST: u8 = 10;
const ACK: u8 = 12;
const ADDRESS: u8 = 13;
const RELAY_TAG_REQUEST: u8 = 15;
const RELAY_TAG: u8 = 16;
const NEW_TOKEN: u8 = 17;
const PATH_CHALLENGE: u8 = 18;
const PATH_RESPONSE: u8 = 19;
const FIRST_PACKET_NUMBER: u8 = 20;
const CONGESTION: u8 = 21;
pub(super) const PADDING: u8 = 254;

/// A RouterInfo is the only part of itself: part 0 of 1.
const WHOLE_ROUTER_INFO: u8 = 1;

impl<'a> Block<'a> {
    /// Decodes a block's content; what follows the fields that we know is left to later versions
    /// where the specification says so.
    pub(super) fn decode(kind: u8, data: &'a [u8]) -> Result<Self, DecodeError> {
        let r = &mut Reader::new(data);
        let block = match kind {
            DATE_TIME => Self::DateTime(r.u32()?),
            OPTIONS => {
                let [send_min, send_max, receive_min, receive_max] = r.array()?;
                let options = Options {
                    send_min,
                    send_max,
                    receive_min,
                    receive_max,
                    send_dummy: r.u16()?,
                    receive_dummy: r.u16()?,
                    send_delay: r.u16()?,
                    receive_delay: r.u16()?,
                };
                let _more = r.rest();
                Self::Options(options)
            }
            ROUTER_INFO => {
                let flags = r.u8()?;
                if r.u8()? != WHOLE_ROUTER_INFO {
                    return Err(DecodeError::Invalid("RouterInfo fragment"));
                }
                let (flood, gzip) = (flags & 1 != 0, flags & 2 != 0);
                Self::RouterInfo { flood, gzip, bytes: r.rest() }
            }
            MESSAGE => {
                r.clone().take(SHORT_HEADER_LEN)?;
                Self::Message(r.rest())
            }
            FIRST_FRAGMENT => {
                // One byte of the body at least.
                r.clone().take(SHORT_HEADER_LEN + 1)?;
                let mut header = r.clone();
                let _kind = header.u8()?;
                Self::FirstFragment { message: header.u32()?, bytes: r.rest() }
            }
            FOLLOW_ON => {
                let info = r.u8()?;
                let message = r.u32()?;
                r.clone().take(1)?;
                if info >> 1 == 0 {
                    return Err(DecodeError::Invalid("fragment number"));
                }
                Self::FollowOn { number: info >> 1, last: info & 1 != 0, message, bytes: r.rest() }
            }
            TERMINATION => {
                let block =
                    Self::Termination { packets: r.u64()?, reason: Reason::from_code(r.u8()?) };
                let _more = r.rest();
                block
            }
            RELAY_REQUEST => Self::RelayRequest(RelayRequest::decode(r)?),
            RELAY_RESPONSE => Self::RelayResponse(RelayResponse::decode(r)?),
            RELAY_INTRO => Self::RelayIntro(RelayIntro::decode(r)?),
            PEER_TEST => Self::PeerTest(PeerTest::decode(r)?),
            ACK => Self::Ack(Ack::decode(r)?),
            ADDRESS => Self::Address(endpoint::decode(r.sub(r.remaining())?)?),
            RELAY_TAG_REQUEST => Self::RelayTagRequest,
            RELAY_TAG => match r.u32()? {
                0 => return Err(DecodeError::Invalid("relay tag")),
                tag => Self::RelayTag(tag),
            },
            NEW_TOKEN => Self::NewToken { expires: r.u32()?, token: r.u64()? },
            PATH_CHALLENGE => Self::PathChallenge(r.rest()),
            PATH_RESPONSE => Self::PathResponse(r.rest()),
            FIRST_PACKET_NUMBER => Self::FirstPacketNumber(r.u32()?),
            CONGESTION => {
                let flags = r.u8()?;
                let _more = r.rest();
                Self::Congestion { immediate_ack: flags & 1 != 0, ecn: flags & 2 != 0 }
            }
            // A block's size has 16 bits.
            PADDING => Self::Padding(r.rest().len() as u16),
            _ => Self::Unknown { kind, data: r.rest() },
        };
        r.clone().finish()?;
        Ok(block)
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::DateTime(_) => DATE_TIME,
            Self::Options(_) => OPTIONS,
            Self::RouterInfo { .. } => ROUTER_INFO,
            Self::Message(_) => MESSAGE,
            Self::FirstFragment { .. } => FIRST_FRAGMENT,
            Self::FollowOn { .. } => FOLLOW_ON,
            Self::Termination { .. } => TERMINATION,
            Self::RelayRequest(_) => RELAY_REQUEST,
            Self::RelayResponse(_) => RELAY_RESPONSE,
            Self::RelayIntro(_) => RELAY_INTRO,
            Self::PeerTest(_) => PEER_TEST,
            Self::Ack(_) => ACK,
            Self::Address(_) => ADDRESS,
            Self::RelayTagRequest => RELAY_TAG_REQUEST,
            Self::RelayTag(_) => RELAY_TAG,
            Self::NewToken { .. } => NEW_TOKEN,
            Self::PathChallenge(_) => PATH_CHALLENGE,
            Self::PathResponse(_) => PATH_RESPONSE,
            Self::FirstPacketNumber(_) => FIRST_PACKET_NUMBER,
            Self::Congestion { .. } => CONGESTION,
            Self::Padding(_) => PADDING,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    /// Bytes of the whole block, with its type and size.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let data = match self {
            Self::RelayTagRequest => 0,
            Self::Congestion { .. } => 1,
            Self::DateTime(_) | Self::RelayTag(_) | Self::FirstPacketNumber(_) => 4,
            Self::Termination { .. } => 9,
            Self::Options(_) | Self::NewToken { .. } => 12,
            Self::RouterInfo { bytes, .. } => 2 + bytes.len(),
            Self::FollowOn { bytes, .. } => 5 + bytes.len(),
            Self::Message(bytes)
            | Self::FirstFragment { bytes, .. }
            | Self::PathChallenge(bytes)
            | Self::PathResponse(bytes)
            | Self::Unknown { data: bytes, .. } => bytes.len(),
            Self::RelayRequest(request) => request.encoded_len(),
            Self::RelayResponse(response) => response.encoded_len(),
            Self::RelayIntro(intro) => intro.encoded_len(),
            Self::PeerTest(test) => test.encoded_len(),
            Self::Ack(ack) => ack.encoded_len(),
            Self::Address(at) => endpoint::len(at),
            Self::Padding(len) => usize::from(*len),
        };
        BLOCK_HEADER_LEN + data
    }

    /// Appends the content. What cannot be decoded again is the caller's fault.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::DateTime(seconds) => out.put_u32(*seconds),
            Self::Options(options) => {
                out.put(&[
                    options.send_min,
                    options.send_max,
                    options.receive_min,
                    options.receive_max,
                ]);
                out.put_u16(options.send_dummy);
                out.put_u16(options.receive_dummy);
                out.put_u16(options.send_delay);
                out.put_u16(options.receive_delay);
            }
            Self::RouterInfo { flood, gzip, bytes } => {
                out.put_u8(u8::from(*flood) | u8::from(*gzip) << 1);
                out.put_u8(WHOLE_ROUTER_INFO);
                out.put(bytes);
            }
            Self::FollowOn { number, last, message, bytes } => {
                out.put_u8(number << 1 | u8::from(*last));
                out.put_u32(*message);
                out.put(bytes);
            }
            Self::Termination { packets, reason } => {
                out.put_u64(*packets);
                out.put_u8(reason.code());
            }
            Self::RelayRequest(request) => request.encode(out),
            Self::RelayResponse(response) => response.encode(out),
            Self::RelayIntro(intro) => intro.encode(out),
            Self::PeerTest(test) => test.encode(out),
            Self::Ack(ack) => ack.encode(out),
            Self::Address(at) => endpoint::put(out, at),
            Self::RelayTagRequest => {}
            Self::RelayTag(number) | Self::FirstPacketNumber(number) => out.put_u32(*number),
            Self::NewToken { expires, token } => {
                out.put_u32(*expires);
                out.put_u64(*token);
            }
            Self::Message(bytes)
            | Self::FirstFragment { bytes, .. }
            | Self::PathChallenge(bytes)
            | Self::PathResponse(bytes)
            | Self::Unknown { data: bytes, .. } => out.put(bytes),
            Self::Congestion { immediate_ack, ecn } => {
                out.put_u8(u8::from(*immediate_ack) | u8::from(*ecn) << 1);
            }
            // Encrypted, so their value is nobody's matter.
            Self::Padding(len) => out.resize(out.len() + usize::from(*len), 0),
        }
    }
}
