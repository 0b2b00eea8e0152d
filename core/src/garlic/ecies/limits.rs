//! Caps, intervals, and the ration of work for peers' new sessions.

use crate::time::Instant;
use core::time::Duration;

/// Sessions of one destination at most; when full, those that peers opened and did not go on with
/// are dropped first, then the one idle for longest.
pub const MAX_SESSIONS: usize = 4096;
/// Sessions that peers opened and have not used yet, at most; the oldest goes when there are more.
pub const MAX_ANSWERING: usize = 3072;
/// New sessions of peers that wait to be bound; the oldest goes when there are more.
pub const MAX_UNBOUND: usize = 1024;
/// Sessions with one peer at most, in each phase; the one idle for longest goes.
pub const MAX_SESSIONS_PER_REMOTE: usize = 16;
/// Memory of one destination's tags, missed messages' keys included.
pub const MAX_TAG_MEMORY: usize = 8 << 20;
/// What one tag is reckoned at: its place in the table at worst load, in the window, and the key
/// if its message is skipped.
pub(super) const TAG_COST: usize = 112;
/// Tags of one destination at most, unless set lower; sessions go as for [`MAX_SESSIONS`].
pub const MAX_TAGS: usize = MAX_TAG_MEMORY / TAG_COST;
/// Ephemeral keys of peers' new sessions that are remembered against replay.
pub const MAX_REPLAY_ENTRIES: usize = 65_536;
/// Used tags that are remembered, so that a duplicate does not cost the work of a new session.
pub(super) const MAX_USED_TAGS: usize = 4096;
/// Events kept for the owner at most; the oldest is dropped.
pub(super) const MAX_EVENTS: usize = 1024;
/// Messages of a set after which the next one is prepared.
pub(super) const NEXT_KEY_AT: u32 = 4096;
/// A peer has this long to use the session that it opened before others may push it out.
pub(super) const ANSWER_GRACE: Duration = Duration::from_secs(5);
/// Time within which peers' needs are answered even without data to send.
pub(super) const ANSWER_DELAY: Duration = Duration::from_secs(1);
/// Time between new sessions to one peer, by the number of tries without an answer. Peers drop
/// what comes faster, for some of them from all of their peers together.
pub(super) const OPEN_INTERVALS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];
/// The same after more tries.
pub(super) const MAX_OPEN_INTERVAL: Duration = Duration::from_secs(15);
/// Time between one-time messages to one peer.
pub(super) const ONE_TIME_INTERVAL: Duration = Duration::from_millis(250);
/// Share of the time that new sessions may take, if each costs [`OPEN_COST`]: 1 in 4, or 2,000
/// new sessions a second.
pub(super) const ADMISSION_DIVISOR: u32 = 4;
/// Upper estimate of one new session's work.
pub(super) const OPEN_COST: Duration = Duration::from_micros(125);
/// Work that may be saved up for a burst: 400 new sessions.
pub(super) const ADMISSION_BURST: Duration = Duration::from_millis(50);
/// Attempts at new ephemeral keys in one go, and the time between two of them.
pub(super) const REFILL_TRIES: usize = 8;
pub(super) const REFILL_INTERVAL: Duration = Duration::from_millis(20);
/// Sessions looked after in one call of [`Sessions::handle_timeout`].
pub(super) const MAX_TIMERS_PER_CALL: usize = 64;

/// Time between new sessions after so many tries.
pub(super) fn open_interval(tries: usize) -> Duration {
    OPEN_INTERVALS.get(tries.saturating_sub(1)).copied().unwrap_or(MAX_OPEN_INTERVAL)
}

/// Rations the work of peers' new sessions. Who sends them cannot be known before the work is
/// done, so the share is the destination's, and no flood of one destination starves another.
#[derive(Default)]
pub(super) struct Admission {
    saved: Duration,
    updated: Option<Instant>,
}

impl Admission {
    /// True, and taken, if there is time for one more.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let gained =
            self.updated.map_or(ADMISSION_BURST, |at| now.saturating_since(at) / ADMISSION_DIVISOR);
        self.updated = Some(now);
        self.saved = (self.saved + gained).min(ADMISSION_BURST);
        match self.saved.checked_sub(OPEN_COST) {
            Some(left) => {
                self.saved = left;
                true
            }
            None => false,
        }
    }
}
