//! The blocks of received frames.

use super::{MAX_EVENTS, SessionEvent, Stats};
use crate::time::UnixTime;
use crate::wire::i2np::Message;
use crate::wire::ntcp2::{Block, Blocks, PaddingOptions, Reason};
use crate::wire::router_info::RouterInfo;
use alloc::collections::VecDeque;
use log::trace;

/// Where the content of frames goes.
pub(super) struct Inbox<'a> {
    pub(super) events: &'a mut VecDeque<SessionEvent>,
    pub(super) stats: &'a mut Stats,
}

/// What a frame means for the session itself.
pub(super) enum Outcome {
    Continue,
    Options(PaddingOptions),
    Terminated(Reason),
}

impl Inbox<'_> {
    /// A frame's blocks up to the first that cannot be read: others do the same, so that peers
    /// with a small mistake are not cut off.
    pub(super) fn handle_blocks(&mut self, unix: UnixTime, text: &[u8]) -> Outcome {
        let mut outcome = Outcome::Continue;
        for block in Blocks::new(text) {
            match block {
                Ok(Block::Message(bytes)) => match Message::decode_short(bytes) {
                    Ok(message) => {
                        self.stats.messages_in += 1;
                        self.push(SessionEvent::Message(message));
                    }
                    Err(_) => self.stats.malformed += 1,
                },
                Ok(Block::RouterInfo { flood, bytes }) => match RouterInfo::decode(bytes) {
                    Ok(info) => self.push(SessionEvent::RouterInfo { info, flood }),
                    Err(_) => self.stats.malformed += 1,
                },
                Ok(Block::DateTime(seconds)) => {
                    let skew = i64::from(seconds) - i64::from(unix.as_secs_rounded());
                    self.push(SessionEvent::Skew(skew));
                }
                Ok(Block::Options(options)) => outcome = Outcome::Options(options),
                Ok(Block::Termination { reason, .. }) => return Outcome::Terminated(reason),
                Ok(Block::Padding(_) | Block::Unknown(_)) => {}
                Err(error) => {
                    trace!("ntcp2: block: {error}");
                    self.stats.malformed += 1;
                }
            }
        }
        outcome
    }

    fn push(&mut self, event: SessionEvent) {
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        }
    }
}
