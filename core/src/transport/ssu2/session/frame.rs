//! What a data packet carries that has to arrive: it goes again, in another packet, when that is lost.

use crate::time::UnixTime;
use crate::wire::i2np::{Message, SHORT_HEADER_LEN};
use crate::wire::router_info::RouterInfo;
use crate::wire::ssu2::{BLOCK_HEADER_LEN, Block, WriteError, Writer};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

/// Bytes of a follow-on fragment before its data.
const FOLLOW_ON_HEADER: usize = 5;
/// Parts of a message at most, as others take.
const MAX_PARTS: usize = 64;

/// One thing that has to arrive.
#[derive(Clone, Debug)]
pub(super) enum Frame {
    /// A whole message.
    Message(Message),
    /// A part of one that is too long for a packet.
    Part(Part),
    /// A RouterInfo, and whether it is to be flooded.
    RouterInfo(RouterInfo, bool),
    /// A token for the peer's next session, and until when it is good (seconds).
    NewToken(u64, u32),
}

/// A part of a message.
#[derive(Clone, Debug)]
pub(super) struct Part {
    message: Arc<Whole>,
    number: u8,
    range: Range<usize>,
}

/// A message that goes in parts.
#[derive(Debug)]
struct Whole {
    id: u32,
    expires: UnixTime,
    bytes: Vec<u8>,
}

impl Frame {
    /// When its receiver would drop it.
    pub(super) fn expires(&self) -> Option<UnixTime> {
        match self {
            Self::Message(message) => Some(message.expires),
            Self::Part(part) => Some(part.message.expires),
            Self::RouterInfo(..) | Self::NewToken(..) => None,
        }
    }

    /// Appends its block.
    pub(super) fn put(&self, writer: &mut Writer<'_>) -> Result<(), WriteError> {
        match self {
            Self::Message(message) => writer.message(message),
            Self::Part(part) => part.put(writer),
            Self::RouterInfo(info, flood) => {
                let bytes = info.as_bytes();
                writer.put(&Block::RouterInfo { flood: *flood, gzip: false, bytes })
            }
            Self::NewToken(token, expires) => {
                writer.put(&Block::NewToken { expires: *expires, token: *token })
            }
        }
    }
}

impl Part {
    /// Cuts a message into the parts that packets of `payload` bytes take; none when these are too many.
    pub(super) fn cut(message: &Message, payload: usize) -> Vec<Self> {
        let mut bytes = Vec::with_capacity(message.short_len());
        message.encode_short(&mut bytes);
        let (first, next) = (
            payload.saturating_sub(BLOCK_HEADER_LEN),
            payload.saturating_sub(BLOCK_HEADER_LEN + FOLLOW_ON_HEADER),
        );
        let len = bytes.len();
        let parts = 1 + len.saturating_sub(first).div_ceil(next.max(1));
        if parts > MAX_PARTS || first <= SHORT_HEADER_LEN {
            return Vec::new();
        }
        let message = Arc::new(Whole { id: message.id, expires: message.expires, bytes });
        let start = |n: usize| if n == 0 { 0 } else { (first + (n - 1) * next).min(len) };
        (0..parts)
            .map(|n| {
                let range = start(n)..start(n + 1);
                Self { message: message.clone(), number: n as u8, range }
            })
            .collect()
    }

    fn put(&self, writer: &mut Writer<'_>) -> Result<(), WriteError> {
        let Whole { id, bytes, .. } = &*self.message;
        let last = self.range.end == bytes.len();
        let part = bytes.get(self.range.clone()).unwrap_or_default();
        writer.put(&match self.number {
            0 => Block::FirstFragment { message: *id, bytes: part },
            number => Block::FollowOn { number, last, message: *id, bytes: part },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::i2np::{MAX_BODY_LEN, MessageType};
    use crate::wire::ssu2::Blocks;

    #[test]
    fn parts_fill_packets_and_make_up_the_message() {
        let payload = 1220;
        for len in [1209, 1210, 2000, 2420, 2421, 2422, 30_000, MAX_BODY_LEN] {
            let body: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let expires = UnixTime::from_secs(9);
            let message = Message { kind: MessageType::DATA, id: 7, expires, body };
            let parts = Part::cut(&message, payload);
            assert!(parts.len() > 1, "{len}");
            let mut whole = Vec::new();
            for (n, part) in parts.iter().enumerate() {
                let mut out = Vec::new();
                Frame::Part(part.clone()).put(&mut Writer::new(&mut out, payload)).unwrap();
                let full = out.len() == payload;
                let block = Blocks::new(&out).next().unwrap().unwrap();
                if let Block::FirstFragment { message: 7, bytes } = block {
                    assert_eq!(n, 0, "{len}");
                    whole.extend(bytes);
                } else if let Block::FollowOn { number, last, message: 7, bytes } = block {
                    assert_eq!((usize::from(number), last), (n, n + 1 == parts.len()), "{len}");
                    assert!(full || last, "{len}");
                    whole.extend(bytes);
                } else {
                    panic!("{block:?}");
                }
            }
            assert_eq!(Message::decode_short(&whole), Ok(message), "{len}");
        }
    }

    #[test]
    fn packets_too_small_for_a_message_get_none_of_it() {
        let body = alloc::vec![0; MAX_BODY_LEN];
        let expires = UnixTime::from_secs(9);
        let message = Message { kind: MessageType::DATA, id: 7, expires, body };
        assert!(Part::cut(&message, 500).is_empty());
        assert!(Part::cut(&message, 8).is_empty());
    }
}
