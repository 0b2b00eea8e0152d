//! Tunnel messages and delivery instructions (specification `tunnel-message`), short and long
//! build record cleartexts (specification `tunnel-creation-ecies`).

use super::codec::{DecodeError, Put, Reader};
use super::hash::Hash;
use crate::crypto::Key32;
use crate::crypto::hash::sha256_concat;
use alloc::vec::Vec;

/// Bytes of a TunnelData body, a *cell*: tunnel id, IV, encrypted data.
pub const CELL_LEN: usize = 1028;
/// Bytes of the tunnel id at the start of a cell.
pub const ID_LEN: usize = 4;
/// Bytes of the IV that follows the tunnel id.
pub const IV_LEN: usize = 16;
/// Bytes of the encrypted rest.
pub const DATA_LEN: usize = 1008;
/// Bytes of the checksum at the start of the decrypted data.
pub const CHECKSUM_LEN: usize = 4;
/// The most bytes of instructions and fragments in one cell: all but the checksum and the zero.
pub const MAX_PAYLOAD_LEN: usize = DATA_LEN - CHECKSUM_LEN - 1;
/// The highest fragment number that six bits hold.
pub const MAX_FRAGMENT_NUMBER: u8 = 63;
/// Bytes of the instructions of a follow-on fragment, size field included.
pub const FOLLOW_ON_LEN: usize = 7;
/// Bytes that a TunnelGateway message puts before the message it carries.
pub const GATEWAY_HEADER_LEN: usize = 6;

/// Where a message goes when it leaves a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// To the router at the end of the tunnel. Inbound tunnels only.
    Local,
    /// Into another tunnel.
    Tunnel {
        /// The router that is its gateway.
        gateway: Hash,
        /// The id under which that router knows it, not zero.
        tunnel: u32,
    },
    /// To a router.
    Router(Hash),
}

impl Delivery {
    const fn code(&self) -> u8 {
        match self {
            Self::Local => 0,
            Self::Tunnel { .. } => 1,
            Self::Router(_) => 2,
        }
    }

    const fn encoded_len(&self) -> usize {
        match self {
            Self::Local => 0,
            Self::Tunnel { .. } => 4 + 32,
            Self::Router(_) => 32,
        }
    }
}

/// The instructions before each fragment in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// A whole message, or the first fragment of one.
    First {
        /// Where it goes.
        delivery: Delivery,
        /// The id that ties the fragments together; `None` for a whole message.
        fragmented: Option<u32>,
    },
    /// A later fragment.
    FollowOn {
        /// The id of the message that it belongs to.
        message: u32,
        /// 1 to 63.
        number: u8,
        /// The message ends with it.
        last: bool,
    },
}

impl Instructions {
    /// Bytes on the wire, with the size field.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        match self {
            Self::First { delivery, fragmented } => {
                1 + delivery.encoded_len() + if fragmented.is_some() { 4 } else { 0 } + 2
            }
            Self::FollowOn { .. } => FOLLOW_ON_LEN,
        }
    }

    /// Appends them, for a fragment of `size` bytes.
    pub fn encode(&self, size: u16, out: &mut Vec<u8>) {
        match *self {
            Self::First { delivery, fragmented } => {
                let flag = if fragmented.is_some() { 0x08 } else { 0 };
                out.put_u8(delivery.code() << 5 | flag);
                match delivery {
                    Delivery::Local => {}
                    // Tunnel id before hash: garlic cloves have it the other way round.
                    Delivery::Tunnel { gateway, tunnel } => {
                        out.put_u32(tunnel);
                        out.put(gateway.as_bytes());
                    }
                    Delivery::Router(hash) => out.put(hash.as_bytes()),
                }
                if let Some(message) = fragmented {
                    out.put_u32(message);
                }
            }
            Self::FollowOn { message, number, last } => {
                out.put_u8(0x80 | (number & MAX_FRAGMENT_NUMBER) << 1 | u8::from(last));
                out.put_u32(message);
            }
        }
        out.put_u16(size);
    }

    /// Decodes instructions and the size of the fragment after them.
    pub fn decode(r: &mut Reader<'_>) -> Result<(Self, u16), DecodeError> {
        let flag = r.u8()?;
        let this = if flag & 0x80 == 0 {
            // Bit 4 (delay) and bit 2 (extended options) announce fields that nobody defined.
            if flag & 0x14 != 0 {
                return Err(DecodeError::Invalid("delivery flags"));
            }
            let delivery = match flag >> 5 & 3 {
                0 => Delivery::Local,
                1 => {
                    let tunnel = r.u32()?;
                    Delivery::Tunnel { tunnel, gateway: Hash(r.array()?) }
                }
                2 => Delivery::Router(Hash(r.array()?)),
                _ => return Err(DecodeError::Invalid("delivery type")),
            };
            let fragmented = if flag & 0x08 != 0 { Some(r.u32()?) } else { None };
            Self::First { delivery, fragmented }
        } else {
            let number = flag >> 1 & MAX_FRAGMENT_NUMBER;
            if number == 0 {
                return Err(DecodeError::Invalid("fragment number"));
            }
            Self::FollowOn { message: r.u32()?, number, last: flag & 1 != 0 }
        };
        Ok((this, r.u16()?))
    }
}

/// The fragments of a cell's payload, in order.
///
/// Yields an error once and then ends when the bytes do not parse.
#[derive(Clone, Debug)]
pub struct Fragments<'a> {
    rest: Reader<'a>,
}

impl<'a> Fragments<'a> {
    /// Over what [`open_payload`] gives.
    #[must_use]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { rest: Reader::new(payload) }
    }

    fn read(&mut self) -> Result<(Instructions, &'a [u8]), DecodeError> {
        let (instructions, size) = Instructions::decode(&mut self.rest)?;
        Ok((instructions, self.rest.take(size.into())?))
    }
}

impl<'a> Iterator for Fragments<'a> {
    type Item = Result<(Instructions, &'a [u8]), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = self.read();
        if item.is_err() {
            self.rest = Reader::new(&[]);
        }
        Some(item)
    }
}

/// The tunnel id of a cell or of a TunnelGateway body.
pub fn tunnel_id(body: &[u8]) -> Result<u32, DecodeError> {
    Reader::new(body).u32()
}

/// Finds and checks the payload of a decrypted cell.
///
/// The checksum covers the payload and the IV, not the padding.
pub fn open_payload(cell: &[u8]) -> Result<&[u8], DecodeError> {
    let mut r = Reader::new(cell);
    let _id = r.take(ID_LEN)?;
    let iv = r.take(IV_LEN)?;
    let checksum = r.take(CHECKSUM_LEN)?;
    let padded = r.take(DATA_LEN - CHECKSUM_LEN)?;
    r.finish()?;
    let zero = padded.iter().position(|b| *b == 0).ok_or(DecodeError::Invalid("cell padding"))?;
    let payload = padded.get(zero + 1..).unwrap_or_default();
    let [a, b, c, d, ..] = sha256_concat(&[payload, iv]);
    if checksum == [a, b, c, d] { Ok(payload) } else { Err(DecodeError::Invalid("cell checksum")) }
}

/// The checksum that [`open_payload`] verifies.
#[must_use]
pub fn payload_checksum(payload: &[u8], iv: &[u8]) -> [u8; CHECKSUM_LEN] {
    let [a, b, c, d, ..] = sha256_concat(&[payload, iv]);
    [a, b, c, d]
}

/// A TunnelGateway body around the bytes of a message with its 16-byte header, as an outbound
/// endpoint passes them on.
pub fn gateway_body(tunnel: u32, message: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let len =
        u16::try_from(message.len()).map_err(|_| DecodeError::TooLarge("TunnelGateway message"))?;
    let mut out = Vec::with_capacity(GATEWAY_HEADER_LEN + message.len());
    out.put_u32(tunnel);
    out.put_u16(len);
    out.put(message);
    Ok(out)
}

/// The most records in a build message.
pub const MAX_RECORDS: usize = 8;
/// Bytes of the truncated router hash that starts an encrypted request record.
pub const RECORD_HASH_LEN: usize = 16;
/// Bytes of an encrypted short record.
pub const SHORT_RECORD_LEN: usize = 218;
/// Bytes of a short request in clear.
pub const SHORT_REQUEST_LEN: usize = 154;
/// Bytes of a short reply in clear; the code is the last.
pub const SHORT_REPLY_LEN: usize = SHORT_RECORD_LEN - 16;
/// Bytes of an encrypted long record.
pub const LONG_RECORD_LEN: usize = 528;
/// Bytes of a long request in clear.
pub const LONG_REQUEST_LEN: usize = 464;
/// Bytes of a long reply in clear; the code is the last.
pub const LONG_REPLY_LEN: usize = LONG_RECORD_LEN - 16;

/// The records of a build message with a count, after the count was checked against the length.
pub fn counted_records<const N: usize>(body: &mut [u8]) -> Result<&mut [[u8; N]], DecodeError> {
    let (count, rest) = body.split_first_mut().ok_or(DecodeError::Truncated)?;
    let count = usize::from(*count);
    if count == 0 || count > MAX_RECORDS {
        return Err(DecodeError::Invalid("number of build records"));
    }
    let (records, rest) = rest.as_chunks_mut::<N>();
    if records.len() < count {
        Err(DecodeError::Truncated)
    } else if records.len() > count || !rest.is_empty() {
        Err(DecodeError::Trailing)
    } else {
        Ok(records)
    }
}

/// What a hop is asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// First hop of an inbound tunnel: takes messages from anybody.
    Gateway,
    /// Between two hops.
    Participant,
    /// Last hop of an outbound tunnel: delivers messages to anybody.
    Endpoint,
}

impl Role {
    const fn flags(self) -> u8 {
        match self {
            Self::Gateway => 0x80,
            Self::Participant => 0,
            Self::Endpoint => 0x40,
        }
    }

    const fn from_flags(flags: u8) -> Result<Self, DecodeError> {
        match (flags & 0x80 != 0, flags & 0x40 != 0) {
            (true, false) => Ok(Self::Gateway),
            (false, false) => Ok(Self::Participant),
            (false, true) => Ok(Self::Endpoint),
            (true, true) => Err(DecodeError::Invalid("role of a hop")),
        }
    }
}

/// What both kinds of request say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The id under which the hop receives, not zero.
    pub receive_tunnel: u32,
    /// The id under which the next hop receives, not zero.
    pub next_tunnel: u32,
    /// The next hop, or where the endpoint sends the reply.
    pub next: Hash,
    /// What the hop is to be.
    pub role: Role,
    /// Layer encryption: 0 is AES. Always 0 in long records.
    pub layer: u8,
    /// When it was asked, in minutes since the epoch.
    pub minutes: u32,
    /// For how many seconds; 600 is what everybody means.
    pub lifetime: u32,
    /// The id of the build message that goes on to the next hop.
    pub next_message: u32,
}

impl Request {
    fn put_ids(&self, out: &mut Vec<u8>) {
        out.put_u32(self.receive_tunnel);
        out.put_u32(self.next_tunnel);
        out.put(self.next.as_bytes());
    }

    fn put_tail(&self, out: &mut Vec<u8>) {
        out.put_u32(self.minutes);
        out.put_u32(self.lifetime);
        out.put_u32(self.next_message);
        // No options: an empty mapping, and zeros as padding.
        out.put_u16(0);
    }

    /// The cleartext of a short record.
    #[must_use]
    pub fn encode_short(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SHORT_REQUEST_LEN);
        self.put_ids(&mut out);
        out.put(&[self.role.flags(), 0, 0, self.layer]);
        self.put_tail(&mut out);
        out.resize(SHORT_REQUEST_LEN, 0);
        out
    }

    /// Reads the cleartext of a short record. Options and padding are not looked at: nothing in
    /// them may make a hop refuse.
    pub fn decode_short(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let receive_tunnel = r.u32()?;
        let next_tunnel = r.u32()?;
        let next = Hash(r.array()?);
        let [flags, _, _, layer] = r.array()?;
        let minutes = r.u32()?;
        let lifetime = r.u32()?;
        let next_message = r.u32()?;
        let _options_and_padding = r.take(SHORT_REQUEST_LEN - 56)?;
        r.finish()?;
        let role = Role::from_flags(flags)?;
        Self { receive_tunnel, next_tunnel, next, role, layer, minutes, lifetime, next_message }
            .checked()
    }

    const fn checked(self) -> Result<Self, DecodeError> {
        if self.receive_tunnel == 0 || self.next_tunnel == 0 {
            Err(DecodeError::Invalid("tunnel id"))
        } else {
            Ok(self)
        }
    }
}

/// A long request: the creator sends the keys instead of deriving them. Only old senders use it.
pub struct LongRequest {
    /// What short requests say too.
    pub request: Request,
    /// For the cells.
    pub layer_key: Key32,
    /// For the IVs of the cells.
    pub iv_key: Key32,
    /// For the other records of the reply.
    pub reply_key: Key32,
    /// The same.
    pub reply_iv: [u8; 16],
}

impl LongRequest {
    /// The cleartext of a long record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LONG_REQUEST_LEN);
        self.request.put_ids(&mut out);
        out.put(self.layer_key.as_bytes());
        out.put(self.iv_key.as_bytes());
        out.put(self.reply_key.as_bytes());
        out.put(&self.reply_iv);
        out.put(&[self.request.role.flags(), 0, 0, 0]);
        self.request.put_tail(&mut out);
        out.resize(LONG_REQUEST_LEN, 0);
        out
    }

    /// Reads the cleartext of a long record.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let receive_tunnel = r.u32()?;
        let next_tunnel = r.u32()?;
        let next = Hash(r.array()?);
        let layer_key = Key32::new(r.array()?);
        let iv_key = Key32::new(r.array()?);
        let reply_key = Key32::new(r.array()?);
        let reply_iv = r.array()?;
        let [flags, _, _, _] = r.array()?;
        let minutes = r.u32()?;
        let lifetime = r.u32()?;
        let next_message = r.u32()?;
        let _options_and_padding = r.take(LONG_REQUEST_LEN - 168)?;
        r.finish()?;
        let role = Role::from_flags(flags)?;
        let request = Request {
            receive_tunnel,
            next_tunnel,
            next,
            role,
            layer: 0,
            minutes,
            lifetime,
            next_message,
        };
        Ok(Self { request: request.checked()?, layer_key, iv_key, reply_key, reply_iv })
    }
}

/// The reply code of a hop that takes part.
pub const ACCEPT: u8 = 0;
/// The one refusal that anybody uses, whatever the reason, so that replies tell nothing.
pub const REJECT: u8 = 30;

/// Writes a reply in clear over `record`: no options, then zeros, and the code at the end.
/// The record's own bytes serve as the padding, which the spec wants random.
pub fn write_reply(record: &mut [u8], code: u8) {
    if let Some(options) = record.first_chunk_mut::<2>() {
        *options = [0; 2];
    }
    if let Some(last) = record.last_mut() {
        *last = code;
    }
}

/// The code of a reply in clear.
#[must_use]
pub fn reply_code(reply: &[u8]) -> Option<u8> {
    reply.last().copied()
}

#[cfg(test)]
mod tests;
