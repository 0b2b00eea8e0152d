//! The data phase: cuts received bytes into frames, fills frames to send.

use super::super::queue::SendQueue;
use super::frame::{OVERHEAD, Opener, Sealer};
use crate::crypto::aead::TAG_LEN;
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};
use crate::wire::ntcp2::{self, BLOCK_HEADER_LEN, MAX_PAYLOAD_LEN, PaddingOptions, Reason};
use crate::wire::router_info::RouterInfo;
use alloc::vec::Vec;

/// Plaintext after which a frame is sent. A larger message has a frame of its own.
const FRAME_PAYLOAD: usize = 16 * 1024;
/// Padding goes up to this many per cent of the plaintext, ...
const PADDING_PERCENT: usize = 6;
/// ... which counts as at least this many bytes, so that small frames vary too.
const PADDING_BASE: usize = 256;

/// Why a frame cannot be taken. What follows it on the stream is lost too.
pub(super) enum FrameError {
    /// Shorter than a tag.
    Length(u16),
    /// Does not authenticate.
    Tag,
}

/// A session's keys and the frame that is being received.
pub(super) struct Link {
    sealer: Sealer,
    opener: Opener,
    /// The part of the next frame that came, if it did not come at once: at most 65,535 bytes.
    /// Before its length is known, the first byte of that.
    partial: Vec<u8>,
    /// Bytes of the frame after its length.
    need: Option<usize>,
    /// `partial` was handed out.
    spent: bool,
    /// The peer wants padding.
    padding: bool,
}

impl Link {
    pub(super) const fn new(sealer: Sealer, opener: Opener) -> Self {
        let partial = Vec::new();
        Self { sealer, opener, partial, need: None, spent: false, padding: true }
    }

    /// Frames received and sent.
    pub(super) const fn frames(&self) -> (u64, u64) {
        (self.opener.frames(), self.sealer.frames())
    }

    /// The peer said what padding it wants.
    pub(super) const fn set_options(&mut self, options: PaddingOptions) {
        self.padding = options.receive_max > 0;
    }

    /// Takes the plaintext of the next frame from the front of `buf`: in place when all of it is
    /// there. `None`: all was taken, more is needed.
    pub(super) fn next_frame<'f, 'b: 'f>(
        &'f mut self,
        buf: &mut &'b mut [u8],
    ) -> Result<Option<&'f mut [u8]>, FrameError> {
        if self.spent {
            // Not kept: thousands of idle sessions would each hold their largest frame.
            self.partial = Vec::new();
            self.spent = false;
        }
        let need = match self.need {
            Some(need) => need,
            None => {
                let Some(masked) = self.length_bytes(buf) else { return Ok(None) };
                let len = self.opener.length(masked);
                let need = usize::from(len);
                if need < TAG_LEN {
                    return Err(FrameError::Length(len));
                }
                *self.need.insert(need)
            }
        };
        let bytes = core::mem::take(buf);
        if self.partial.is_empty() && bytes.len() >= need {
            let (frame, rest) = bytes.split_at_mut_checked(need).ok_or(FrameError::Tag)?;
            *buf = rest;
            self.need = None;
            return self.opener.open(frame).map(Some).map_err(|_| FrameError::Tag);
        }
        let missing = need.saturating_sub(self.partial.len()).min(bytes.len());
        let (head, rest) = bytes.split_at_mut_checked(missing).ok_or(FrameError::Tag)?;
        *buf = rest;
        self.partial.reserve_exact(need - self.partial.len());
        self.partial.extend_from_slice(head);
        if self.partial.len() < need {
            return Ok(None);
        }
        self.need = None;
        self.spent = true;
        self.opener.open(&mut self.partial).map(Some).map_err(|_| FrameError::Tag)
    }

    /// The two bytes before a frame, possibly from two reads.
    fn length_bytes(&mut self, buf: &mut &mut [u8]) -> Option<[u8; 2]> {
        let bytes = core::mem::take(buf);
        let missing = 2_usize.saturating_sub(self.partial.len()).min(bytes.len());
        let (head, rest) = bytes.split_at_mut_checked(missing)?;
        *buf = rest;
        self.partial.extend_from_slice(head);
        let masked = *self.partial.first_chunk()?;
        self.partial.clear();
        Some(masked)
    }

    /// Appends one frame of what waits, filled up to `room` or beyond if the first message alone
    /// is larger. Returns how many messages it holds; `None` when nothing waits.
    pub(super) fn fill(
        &mut self,
        now: Instant,
        unix: UnixTime,
        waiting: &mut Waiting,
        rng: &mut Rng,
        room: usize,
        out: &mut Vec<u8>,
    ) -> Option<u64> {
        let first = waiting.first_len(now, unix)?;
        let fitting = room.saturating_sub(OVERHEAD + BLOCK_HEADER_LEN) * 100;
        let limit = FRAME_PAYLOAD.min(fitting / (100 + PADDING_PERCENT)).max(first);
        let start = Sealer::begin(out);
        let text = out.len();
        if let Some((info, flood)) = waiting.router_info.take() {
            ntcp2::put_date_time(out, unix.as_secs_rounded());
            // A RouterInfo has at most 4 KiB, so that it always fits.
            let _fits = ntcp2::put_router_info(out, flood, info.as_bytes());
        }
        let mut messages = 0;
        while let Some(len) = waiting.queue.peek_len(now, unix)
            && out.len() - text + len <= limit
            && let Some(message) = waiting.queue.pop()
        {
            // The queue takes no message that would not fit.
            let _fits = ntcp2::put_message(out, &message);
            messages += 1;
        }
        self.pad(out.len() - text, rng, out);
        self.sealer.finish(out, start);
        Some(messages)
    }

    /// Appends a frame that says goodbye.
    pub(super) fn terminate(&mut self, reason: Reason, rng: &mut Rng, out: &mut Vec<u8>) {
        let start = Sealer::begin(out);
        let text = out.len();
        ntcp2::put_termination(out, self.opener.frames(), reason);
        self.pad(out.len() - text, rng, out);
        self.sealer.finish(out, start);
    }

    fn pad(&self, payload: usize, rng: &mut Rng, out: &mut Vec<u8>) {
        let most = payload.max(PADDING_BASE) * PADDING_PERCENT / 100;
        let space = MAX_PAYLOAD_LEN.saturating_sub(payload + BLOCK_HEADER_LEN);
        if self.padding && space > 0 {
            ntcp2::put_padding(out, rng.between(0, most.min(space) as u64) as u16);
        }
    }
}

/// What waits to be sent.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) queue: SendQueue,
    /// A RouterInfo of ours, and whether it is to be flooded; a newer one replaces it.
    pub(super) router_info: Option<(RouterInfo, bool)>,
}

impl Waiting {
    /// True when nothing waits.
    pub(super) const fn is_empty(&self) -> bool {
        self.router_info.is_none() && self.queue.len() == 0
    }

    /// Bytes of the blocks that go first and cannot be parted.
    pub(super) fn first_len(&mut self, now: Instant, unix: UnixTime) -> Option<usize> {
        match &self.router_info {
            Some((info, _)) => Some(info.as_bytes().len() + 11),
            None => self.queue.peek_len(now, unix),
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.router_info = None;
    }
}
