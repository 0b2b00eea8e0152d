//! Streams that are over, for as long as packets of theirs may still come.

use super::StreamId;
use crate::audit::Audit;
use crate::time::Instant;
use crate::wire::hash::Hash;
use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

/// Streams remembered.
const MAX_GRAVES: usize = 2048;
/// How long.
const GRAVE_TIME: Duration = Duration::from_secs(120);

/// What is left of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grave {
    /// The peer.
    pub(crate) remote: Hash,
    /// The peer's name for the stream; 0 if it never told.
    pub(crate) remote_id: u32,
    /// Our port and the peer's.
    pub(crate) ports: (u16, u16),
    /// Everything up to here was received.
    pub(crate) received: Option<u32>,
    /// The next sequence number of ours.
    pub(crate) next_sequence: u32,
    /// It ended by a RESET of ours.
    pub(crate) reset: bool,
    /// The peer opened it.
    pub(crate) incoming: bool,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Graves {
    graves: BTreeMap<StreamId, Grave>,
    order: VecDeque<(Instant, StreamId)>,
}

impl Graves {
    /// What is held, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        audit.see("streams: over", self.graves.len(), MAX_GRAVES);
        audit.see("streams: order of those that are over", self.order.len(), MAX_GRAVES);
    }

    /// How many are remembered.
    pub(crate) fn len(&self) -> usize {
        self.graves.len()
    }

    /// Remembers a stream; the oldest is forgotten when there are too many.
    pub(crate) fn bury(&mut self, now: Instant, id: StreamId, grave: Grave) {
        self.graves.insert(id, grave);
        self.order.push_back((now + GRAVE_TIME, id));
    }

    /// The stream with this name.
    pub(crate) fn get(&self, id: StreamId) -> Option<&Grave> {
        self.graves.get(&id)
    }

    /// Forgets one stream that is too old, or one too many.
    pub(crate) fn forget_one(&mut self, now: Instant) -> Option<Grave> {
        let (until, id) = self.order.front().copied()?;
        if until > now && self.order.len() <= MAX_GRAVES {
            return None;
        }
        self.order.pop_front();
        self.graves.remove(&id)
    }
}
