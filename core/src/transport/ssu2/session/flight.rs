//! The packets on their way to the peer: which arrived, which are lost.
//!
//! As QUIC (RFC 9002): every packet has a number of its own, so that what an acknowledgement is for is never
//! in doubt. A packet is lost when later ones arrived and it did not, and what it carried goes again in
//! another one. After silence the oldest is taken for lost, to hear something, and the window is not told.

use super::MAX_FRAMES;
use super::frame::Frame;
use crate::audit::Audit;
use crate::flow::congestion::Congestion;
use crate::flow::pacer::Pacer;
use crate::flow::reordering::Reordering;
use crate::flow::rtt::Rtt;
use crate::time::{Instant, earliest};
use crate::wire::ssu2::Ack;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

/// Later packets that arrived before an earlier one counts as lost, on a path that keeps the order.
const THRESHOLD: u32 = 3;
/// What a round trip is taken for before it is measured (RFC 9002).
const UNKNOWN_RTT: Duration = Duration::from_millis(333);
/// A path that lets no large packet through, of so many at least, swallows them: for so long while others arrive, ...
const SWALLOWED: (u32, Duration) = (3, Duration::from_millis(500));
/// ... or for so long when nothing does, after so many silences.
const SILENT: (u32, Duration) = (4, Duration::from_secs(2));
/// Packets that are remembered, those that need no acknowledgement among them. Those that are lost are remembered
/// for a while, since they may only be late.
const MAX_REMEMBERED: usize = 2048;
/// The longest wait between two signs that we still wait.
const MAX_BACKOFF: Duration = Duration::from_secs(4);
/// A peer that acknowledges nothing for so long, after so many tries, is gone.
const SILENCE: (Duration, u32) = (Duration::from_secs(15), 5);

/// The packets, and what they tell of the path.
#[derive(Debug)]
pub(super) struct Flight {
    /// The number of the first that is remembered.
    first: u32,
    sent: VecDeque<Sent>,
    /// What is to go again.
    again: VecDeque<Frame>,
    rtt: Rtt,
    reordering: Reordering,
    congestion: Congestion,
    pacer: Pacer,
    newest_acked: Option<u32>,
    loss_at: Option<Instant>,
    probe_at: Option<Instant>,
    /// Times that nothing was heard, since something was, and since when.
    silences: u32,
    heard: Instant,
    /// Packets that may go whatever the window says: what it waits for may all be lost.
    probes: u32,
    lost: u64,
    spurious: u64,
    /// When the first of the large packets was lost that were since one arrived, and how many were.
    large_lost: Option<(Instant, u32)>,
}

#[derive(Debug)]
struct Sent {
    at: Instant,
    /// It is to be acknowledged.
    eliciting: bool,
    large: bool,
    mark: u64,
    state: State,
    frames: Vec<Frame>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is to be acknowledged.
    Flying,
    /// It counts as lost.
    Lost,
    /// What it carried went again, to hear something: it may have arrived all the same.
    Probed,
    /// It arrived, or needs no acknowledgement.
    Done,
}

/// An acknowledgement of what was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NeverSent;

impl Flight {
    /// The next packet is number `first`.
    pub(super) fn new(now: Instant, first: u32) -> Self {
        Self {
            first,
            sent: VecDeque::new(),
            again: VecDeque::new(),
            rtt: Rtt::default(),
            reordering: Reordering::default(),
            congestion: Congestion::default(),
            pacer: Pacer::new(now),
            newest_acked: None,
            loss_at: None,
            probe_at: None,
            silences: 0,
            heard: now,
            probes: 0,
            lost: 0,
            spurious: 0,
            large_lost: None,
        }
    }

    /// The number of the next packet.
    pub(super) fn next_number(&self) -> u32 {
        self.first.saturating_add(self.sent.len() as u32)
    }

    /// The smoothed round trip.
    pub(super) const fn rtt(&self) -> Option<Duration> {
        self.rtt.smoothed()
    }

    /// Whether the path seems to swallow large packets: many were lost and none arrived for a while, in which others
    /// arrived, or nothing at all did.
    pub(super) fn swallows_large(&self, now: Instant) -> bool {
        let Some((since, lost)) = self.large_lost else { return false };
        let time = now.saturating_since(since);
        let others_arrive = self.heard > since && time >= SWALLOWED.1;
        let nothing_does = self.silences >= SILENT.0 && time >= SILENT.1;
        lost >= SWALLOWED.0 && (others_arrive || nothing_does)
    }

    /// Large packets are tried again.
    pub(super) const fn forget_large(&mut self) {
        self.large_lost = None;
    }

    /// Packets that counted as lost, and those of them that arrived all the same.
    pub(super) const fn losses(&self) -> (u64, u64) {
        (self.lost, self.spurious)
    }

    /// What is held, and what may be.
    pub(super) fn audit(&self, audit: &mut Audit<'_>) {
        audit.see("ssu2: packets", self.sent.len(), MAX_REMEMBERED);
        audit.see("ssu2: frames that go again", self.again.len(), MAX_REMEMBERED * MAX_FRAMES);
    }

    /// The round trip was measured otherwise.
    pub(super) fn sample(&mut self, now: Instant, rtt: Duration) {
        self.rtt.sample(now, rtt);
    }

    /// When a packet that is to be acknowledged may go; `None`: when something arrives or is lost.
    pub(super) fn gate(&mut self, now: Instant) -> Option<Instant> {
        if self.again.is_empty() && self.probe_at.is_none() {
            self.congestion.restart(now.saturating_since(self.heard));
        }
        if self.probes > 0 {
            return Some(now);
        }
        if !self.congestion.may_send() {
            return None;
        }
        Some(self.pacer.gate(now, &self.rtt, &self.congestion).unwrap_or(now))
    }

    /// True when something waits to go again.
    pub(super) fn has_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// The next frame that is to go again.
    pub(super) fn again(&self) -> Option<&Frame> {
        self.again.front()
    }

    /// Takes it.
    pub(super) fn take_again(&mut self) -> Option<Frame> {
        self.again.pop_front()
    }

    /// The packet with [`Self::next_number`] goes. Without frames nobody waits for its acknowledgement.
    /// `large`: there are paths that it may be too long for.
    pub(super) fn note(&mut self, now: Instant, frames: Vec<Frame>, large: bool) {
        if self.sent.len() >= MAX_REMEMBERED {
            self.forget_first();
        }
        let eliciting = !frames.is_empty();
        let (state, mark) = if eliciting {
            self.pacer.sent(now, &self.rtt, &self.congestion);
            self.probes = self.probes.saturating_sub(1);
            if self.probe_at.is_none() {
                // The silence begins with the question.
                self.heard = if self.silences == 0 { now } else { self.heard };
                self.probe_at = Some(now + self.interval());
            }
            (State::Flying, self.congestion.sent())
        } else {
            (State::Done, 0)
        };
        self.sent.push_back(Sent { at: now, eliciting, large, mark, state, frames });
        self.drop_done();
    }

    /// The peer says what arrived; says whether that is news.
    pub(super) fn handle_ack(&mut self, now: Instant, ack: &Ack<'_>) -> Result<bool, NeverSent> {
        if ack.through >= self.next_number() {
            return Err(NeverSent);
        }
        let (mut acked, mut landed, mut mark) = (0, 0, 0);
        let mut newest: Option<(u32, Instant)> = None;
        let srtt = self.rtt.smoothed().unwrap_or_default();
        for range in ack.ranges() {
            if *range.end() < self.first {
                break;
            }
            for number in (*range.start()).max(self.first)..=*range.end() {
                let Some(sent) = self.sent.get_mut((number - self.first) as usize) else {
                    continue;
                };
                match sent.state {
                    State::Done => continue,
                    State::Flying => landed += 1,
                    State::Probed => {}
                    State::Lost => {
                        // It was late, not lost; what it carried goes twice.
                        self.spurious += 1;
                        let late = now.saturating_since(sent.at).saturating_sub(srtt);
                        self.reordering.seen(late);
                    }
                }
                if sent.large {
                    self.large_lost = None;
                }
                sent.state = State::Done;
                sent.frames = Vec::new();
                acked += 1;
                mark = mark.max(sent.mark);
                newest = newest.max(Some((number, sent.at)));
            }
        }
        let Some((number, at)) = newest else { return Ok(false) };
        // Only of the newest packet: what is acknowledged late would make the path look longer.
        let after = (number + 1).saturating_sub(self.first) as usize;
        let mut later = self.sent.iter().skip(after).take((ack.through - number) as usize);
        let sample = later.all(|sent| !sent.eliciting).then(|| now.saturating_since(at));
        if let Some(sample) = sample {
            self.rtt.sample(now, sample);
        }
        self.newest_acked = self.newest_acked.max(Some(number));
        self.reordering.acked(acked);
        self.find_lost(now);
        self.congestion.acked(now, &mut self.rtt, acked, landed, mark, sample);
        self.heard = now;
        self.silences = 0;
        self.probes = 0;
        self.drop_done();
        let waits = self.congestion.flying() > 0;
        self.probe_at = waits.then(|| now + self.interval());
        Ok(true)
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        earliest(self.loss_at, self.probe_at)
    }

    /// Time passed. False when the peer has been silent for too long.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        if self.loss_at.is_some_and(|at| at <= now) {
            self.find_lost(now);
        }
        if self.probe_at.is_none_or(|at| at > now) {
            return true;
        }
        self.silences += 1;
        let (time, tries) = SILENCE;
        if self.silences > tries && now.saturating_since(self.heard) >= time {
            return false;
        }
        self.congestion.timed_out(self.silences);
        // One to ask, and after the first silence two, in case it is only loss.
        self.probes = self.silences.min(2);
        for _ in 0..self.probes {
            self.take_for_lost(now);
        }
        let waits = self.congestion.flying() > 0 || !self.again.is_empty();
        self.probe_at = waits.then(|| now + self.interval());
        true
    }

    /// The peer is somewhere else: what was learned of the path is void.
    pub(super) fn moved(&mut self, now: Instant) {
        self.rtt.forget();
        self.reordering = Reordering::default();
        self.congestion.rerouted();
        self.pacer = Pacer::new(now);
    }

    /// Forgets everything that was sent; numbers go on.
    pub(super) fn clear(&mut self) {
        self.first = self.next_number();
        self.congestion.released(self.congestion.flying());
        self.sent.clear();
        self.again.clear();
        (self.loss_at, self.probe_at) = (None, None);
    }

    /// What the oldest packet on its way carried goes again, so that the peer has something to acknowledge.
    /// Nothing says that it is lost, so the window is not to shrink for it.
    fn take_for_lost(&mut self, now: Instant) {
        let oldest = self.sent.iter_mut().find(|sent| sent.state == State::Flying);
        if let Some(sent) = oldest {
            sent.state = State::Probed;
            if sent.large {
                count_lost(&mut self.large_lost, now);
            }
            for frame in core::mem::take(&mut sent.frames).into_iter().rev() {
                self.again.push_front(frame);
            }
            self.congestion.released(1);
        }
    }

    fn find_lost(&mut self, now: Instant) {
        self.loss_at = None;
        let Some(newest) = self.newest_acked else { return };
        let reordering = self.reordering.patience();
        let patience = self.rtt.pessimistic().unwrap_or(UNKNOWN_RTT) * 9 / 8 + reordering;
        let mut lost = 0;
        for (number, sent) in (self.first..newest).zip(self.sent.iter_mut()) {
            if sent.state != State::Flying {
                continue;
            }
            let overtaken = reordering == Duration::ZERO && newest - number >= THRESHOLD;
            let late = sent.at + patience;
            if !overtaken && now < late {
                self.loss_at = earliest(self.loss_at, Some(late));
                continue;
            }
            sent.state = State::Lost;
            self.again.extend(sent.frames.drain(..));
            if sent.large {
                count_lost(&mut self.large_lost, now);
            }
            lost += 1;
        }
        self.lost += u64::from(lost);
        self.congestion.lost(lost);
    }

    /// Drops from the front what is over; lost packets while nothing earlier flies and they are not among the
    /// last ones, whose lateness would tell how the path reorders.
    fn drop_done(&mut self) {
        while let Some(sent) = self.sent.front() {
            let over = match sent.state {
                State::Done => true,
                State::Lost | State::Probed => self.sent.len() > MAX_REMEMBERED / 4,
                State::Flying => false,
            };
            if !over {
                break;
            }
            self.sent.pop_front();
            self.first += 1;
        }
    }

    /// Makes room, though the first packet is still on its way: that one has been taken over by so many that it is
    /// lost.
    fn forget_first(&mut self) {
        if let Some(sent) = self.sent.pop_front() {
            self.first += 1;
            if sent.state == State::Flying {
                self.lost += 1;
                self.congestion.lost(1);
                self.again.extend(sent.frames);
            }
        }
    }

    fn interval(&self) -> Duration {
        let timeout = self.rtt.timeout() + self.reordering.patience();
        (timeout * (1 << self.silences.min(8))).min(MAX_BACKOFF.max(timeout))
    }
}

/// One more was lost, the first of them `now` if there was none.
fn count_lost(lost: &mut Option<(Instant, u32)>, now: Instant) {
    let (_, count) = lost.get_or_insert((now, 0));
    *count += 1;
}
