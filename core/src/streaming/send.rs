//! The sending half of a stream: what was sent, what arrived, what to send next.
//!
//! Loss is found by order of transmission, not of sequence numbers (as RACK, RFC 8985, and QUIC,
//! RFC 9002): each transmission has a number of its own, and a packet is lost when later
//! transmissions arrived and it did not. So a lost retransmission is found like any other loss. A
//! timeout only probes; what is lost follows from the answer, and nothing else is sent again.

use super::buffer::ByteRing;
use super::path::Path;
use super::recv::MAX_AHEAD;
use crate::audit::Audit;
use crate::flow::congestion::MAX_WINDOW;
use crate::time::{Instant, earliest};
use alloc::collections::{BTreeSet, VecDeque};
use core::time::Duration;

/// Later transmissions that arrived before an earlier one counts as lost, on a path that keeps the
/// order.
const THRESHOLD: u64 = 3;
/// Intervals between SYNs: tunnels and ratchets may only be coming up, and a peer forgets a
/// new session that came too soon after another.
const SYN_FIRST: Duration = Duration::from_millis(1500);
const SYN_FIRST_KNOWN: Duration = Duration::from_millis(500);
const SYN_LAST: Duration = Duration::from_secs(8);
/// The longest wait between timeouts.
const MAX_BACKOFF: Duration = Duration::from_secs(8);
/// The shortest wait between probes of a peer that asked us to stop.
const MIN_PERSIST: Duration = Duration::from_millis(500);
/// Bytes that a CLOSE takes more than plain data: it is signed.
const CLOSE_OVERHEAD: usize = 64;
/// From the oldest packet that is not acknowledged to the newest. Twice the window, so that one
/// packet that is lost again and again does not hold the rest up; our own receivers keep so many.
const MAX_SPAN: u32 = 2 * MAX_WINDOW;
const _: () = assert!(MAX_SPAN <= MAX_AHEAD);
/// Transmissions that are remembered, for audits: those of packets that are not acknowledged, and
/// those that came after the oldest one that nothing is known of.
const MAX_TRANSMISSIONS: usize = 4 * MAX_SPAN as usize;
/// The answer to a SYN goes once more behind so many packets that follow it: i2pd 2.59 gives a
/// stream up when two that follow arrive before it.
const SYN_FOLLOWED: u32 = 1;
/// The least span after the peer asked us to stop.
const MIN_SPAN: u32 = 32;

/// A packet to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Its sequence number.
    pub(crate) sequence: u32,
    /// Where its data begins in the stream.
    start: u64,
    /// Bytes of data.
    len: u16,
    /// It is the last one.
    pub(crate) close: bool,
    /// It was sent before.
    pub(crate) again: bool,
    /// Nothing is left to send after it.
    pub(crate) tail: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing.
    Idle,
    /// Something, that the window and the pacer have to allow.
    Gated,
    /// Something, now.
    Free,
}

/// What an ack said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AckOutcome {
    /// Packets newly acknowledged.
    pub(crate) acked: u32,
    /// The first packet that is not acknowledged moved on.
    pub(crate) progress: bool,
    /// It acknowledges what was never sent.
    pub(crate) invalid: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Flying,
    /// Nobody knows where, and the window of the path does not wait for it.
    Adrift,
    Lost,
    Acked,
}

struct Sent {
    start: u64,
    len: u16,
    close: bool,
    state: State,
    sends: u8,
    transmission: u64,
    sent: Instant,
    before: Instant,
    mark: u64,
}

impl Sent {
    /// Sent, and neither acknowledged nor found lost.
    const fn is_out(&self) -> bool {
        matches!(self.state, State::Flying | State::Adrift)
    }
}

/// The sending half.
pub(crate) struct Sender {
    /// Data that is not acknowledged in order; begins at `kept_from` of the stream.
    data: ByteRing,
    kept_from: u64,
    /// The first byte that was never sent.
    fresh: u64,
    /// The first sequence number that is not acknowledged, and everything sent from it on.
    base: u32,
    window: VecDeque<Sent>,
    lost: BTreeSet<u32>,
    /// Transmissions in order; those that are over are dropped when they come to the front.
    order: VecDeque<(u64, u32)>,
    transmissions: u64,
    newest_acked: Option<u64>,
    flying: u32,
    adrift: u32,
    /// The SYN may go.
    syn_due: bool,
    /// The SYN goes once more, for it was followed before it was acknowledged.
    syn_again: bool,
    /// Packets after the SYN may go.
    established: bool,
    closing: bool,
    close_sent: bool,
    /// A packet without data is to go, to hear whether the peer is there.
    empty_due: bool,
    choked: bool,
    timeouts: u32,
    probes: u32,
    timeout_at: Option<Instant>,
    loss_at: Option<Instant>,
    max_payload: usize,
    max_span: u32,
    span_cap: u32,
    resent: u64,
}

impl Sender {
    /// Sends packets of at most `max_payload` bytes of data. `established`: the other side opened
    /// the stream.
    pub(crate) fn new(max_payload: usize, established: bool) -> Self {
        Self {
            data: ByteRing::default(),
            kept_from: 0,
            fresh: 0,
            base: 0,
            window: VecDeque::new(),
            lost: BTreeSet::new(),
            order: VecDeque::new(),
            transmissions: 0,
            newest_acked: None,
            flying: 0,
            adrift: 0,
            syn_due: !established,
            syn_again: false,
            established,
            closing: false,
            close_sent: false,
            empty_due: false,
            choked: false,
            timeouts: 0,
            probes: 0,
            timeout_at: None,
            loss_at: None,
            max_payload,
            max_span: MAX_SPAN,
            span_cap: MAX_SPAN,
            resent: 0,
        }
    }

    /// What is held, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        let sent = self.window.len();
        // The SYN and the CLOSE go without asking.
        audit.see("streams: packets not acknowledged", sent, MAX_SPAN as usize + 2);
        audit.see("streams: packets lost", self.lost.len(), sent);
        // Those that are over wait for what left before them.
        audit.see("streams: transmissions", self.order.len(), MAX_TRANSMISSIONS);
    }

    /// Bytes that wait to be sent for the first time.
    pub(crate) fn unsent(&self) -> usize {
        let end = self.kept_from + self.data.len() as u64;
        end.saturating_sub(self.fresh) as usize
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Packets sent and not acknowledged.
    pub(crate) fn outstanding(&self) -> usize {
        self.window.len()
    }

    /// Timeouts since something was acknowledged.
    pub(crate) const fn timeouts(&self) -> u32 {
        self.timeouts
    }

    /// Packets sent again so far.
    pub(crate) const fn resent(&self) -> u64 {
        self.resent
    }

    /// The next sequence number.
    pub(crate) fn next_sequence(&self) -> u32 {
        self.base.saturating_add(self.window.len() as u32)
    }

    /// True when the SYN was sent at least once.
    pub(crate) fn syn_sent(&self) -> bool {
        self.next_sequence() > 0
    }

    /// True when everything and the CLOSE were sent and acknowledged.
    pub(crate) fn is_finished(&self) -> bool {
        self.close_sent && self.window.is_empty()
    }

    /// True when the CLOSE was sent and nothing but it is outstanding.
    pub(crate) fn only_close_left(&self) -> bool {
        self.close_sent && self.window.iter().all(|p| p.close)
    }

    /// True when there will be no more data.
    pub(crate) const fn is_closing(&self) -> bool {
        self.closing
    }

    /// True while the peer asks us to stop.
    pub(crate) const fn is_choked(&self) -> bool {
        self.choked
    }

    /// Takes data; the caller sees to the limit.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.data.push(bytes);
    }

    /// After the data that is there comes the CLOSE.
    pub(crate) const fn close(&mut self) {
        self.closing = true;
    }

    /// The SYN may go even if there is no data to go with it.
    pub(crate) const fn let_syn_go(&mut self) {
        self.syn_due = true;
    }

    /// The peer answered the SYN, and takes `max_payload` bytes a packet.
    pub(crate) const fn establish(&mut self, max_payload: usize) {
        self.established = true;
        self.max_payload = max_payload;
    }

    /// A packet without data is to go.
    pub(crate) const fn send_empty(&mut self) {
        self.empty_due = true;
    }

    /// The peer cannot take more, now; `cap` is what it never takes at once, if that is known.
    pub(crate) fn choke(&mut self, now: Instant, path: &Path, cap: Option<u32>) {
        self.span_cap = cap.map_or(self.span_cap, |cap| cap.min(self.span_cap));
        if !self.choked {
            self.choked = true;
            let half = (self.window.len() as u32 / 2).max(MIN_SPAN);
            self.max_span = self.max_span.min(half).min(self.span_cap);
            self.timeout_at = Some(now + self.interval(path));
        }
    }

    /// The peer can take more.
    pub(crate) fn unchoke(&mut self, now: Instant, path: &Path) {
        if self.choked {
            self.choked = false;
            self.timeouts = 0;
            self.restart_timer(now, path);
        }
    }

    /// What to do next.
    pub(crate) fn next(&self) -> Next {
        if self.probes > 0 {
            return Next::Free;
        }
        if self.choked {
            return Next::Idle;
        }
        if self.next_sequence() == 0 {
            let wanted = self.syn_due || self.unsent() > 0 || self.closing;
            // Whoever answers a SYN does so late rather than without data.
            let may = self.syn_due || self.established;
            return if wanted && may { Next::Free } else { Next::Idle };
        }
        if self.wants_syn_again() {
            return Next::Free;
        }
        // What it has out is not counted while nothing is heard: more of it would take the window
        // from the others once more.
        if self.adrift > 0 && self.timeouts > 0 {
            return Next::Idle;
        }
        if !self.lost.is_empty() || self.has_fresh() {
            return Next::Gated;
        }
        Next::Idle
    }

    fn wants_syn_again(&self) -> bool {
        let followed = self.next_sequence() > SYN_FOLLOWED || self.unsent() == 0;
        self.syn_again && self.base == 0 && followed
    }

    fn has_fresh(&self) -> bool {
        // Nobody may ever have to name more than 255 missing packets: some name a packet as
        // received that they have not, then.
        let missing = self.flying + self.adrift + self.lost.len() as u32;
        let span = self.window.len() as u32;
        if !self.established || self.close_sent || span >= self.max_span || missing >= MAX_WINDOW {
            return false;
        }
        self.unsent() > 0 || self.closing || self.empty_due
    }

    /// The packet that [`Self::next`] spoke of; `None` if there is none after all.
    pub(crate) fn take(&mut self, now: Instant, path: &mut Path) -> Option<Chunk> {
        let chunk = if self.probes > 0 {
            self.probes -= 1;
            match self.oldest_unprobed(now) {
                Some(sequence) => self.take_again(now, path, sequence),
                None => self.take_fresh(now, path),
            }
        } else if self.wants_syn_again() {
            self.syn_again = false;
            self.take_again(now, path, 0)
        } else if let Some(sequence) = self.lost.first().copied() {
            self.take_again(now, path, sequence)
        } else {
            self.take_fresh(now, path)
        }?;
        if self.timeout_at.is_none() {
            self.timeout_at = Some(now + self.interval(path));
        }
        Some(chunk)
    }

    /// The oldest packet that is not there and was not just sent.
    fn oldest_unprobed(&self, now: Instant) -> Option<u32> {
        let mut missing =
            (self.base..).zip(&self.window).filter(|(_, sent)| sent.state != State::Acked);
        let oldest = missing.next()?;
        let other = if oldest.1.sent == now { missing.next() } else { None };
        Some(other.unwrap_or(oldest).0)
    }

    fn take_again(&mut self, now: Instant, path: &mut Path, sequence: u32) -> Option<Chunk> {
        self.lost.remove(&sequence);
        let index = sequence.checked_sub(self.base)? as usize;
        let transmission = self.transmissions;
        let sent = self.window.get_mut(index)?;
        match sent.state {
            // It goes twice; only the second one counts from now on.
            State::Flying => {
                path.congestion.released(1);
                self.flying -= 1;
            }
            State::Adrift => self.adrift = self.adrift.saturating_sub(1),
            State::Lost | State::Acked => {}
        }
        sent.state = State::Flying;
        sent.sends = sent.sends.saturating_add(1);
        sent.before = sent.sent;
        sent.sent = now;
        sent.transmission = transmission;
        sent.mark = path.sent(now);
        let chunk = Chunk {
            sequence,
            start: sent.start,
            len: sent.len,
            close: sent.close,
            again: true,
            tail: false,
        };
        self.transmissions += 1;
        self.order.push_back((transmission, sequence));
        self.flying += 1;
        self.resent += 1;
        Some(chunk)
    }

    fn take_fresh(&mut self, now: Instant, path: &mut Path) -> Option<Chunk> {
        let sequence = self.next_sequence();
        if sequence == u32::MAX || self.close_sent {
            return None;
        }
        let unsent = self.unsent();
        let len = unsent.min(self.max_payload);
        let close_fits = sequence == 0 || len + CLOSE_OVERHEAD <= self.max_payload;
        let close = self.closing && len == unsent && close_fits;
        if sequence > 0 && len == 0 && !close && !self.empty_due {
            return None;
        }
        self.empty_due = false;
        self.syn_again |= sequence == 1 && self.base == 0;
        self.close_sent = close;
        let start = self.fresh;
        self.fresh += len as u64;
        let transmission = self.transmissions;
        self.transmissions += 1;
        let len = len as u16;
        self.window.push_back(Sent {
            start,
            len,
            close,
            state: State::Flying,
            sends: 1,
            transmission,
            sent: now,
            before: now,
            mark: path.sent(now),
        });
        self.order.push_back((transmission, sequence));
        self.flying += 1;
        Some(Chunk { sequence, start, len, close, again: false, tail: self.unsent() == 0 })
    }

    /// The data of a packet.
    pub(crate) fn payload(&self, chunk: &Chunk) -> [&[u8]; 2] {
        let start = chunk.start.saturating_sub(self.kept_from) as usize;
        self.data.view(start, chunk.len.into())
    }

    /// Everything up to `through` has arrived, except `nacks`, which must be sorted.
    pub(crate) fn handle_ack(
        &mut self,
        now: Instant,
        path: &mut Path,
        through: u32,
        nacks: &[u32],
    ) -> AckOutcome {
        if through >= self.next_sequence() {
            return AckOutcome { invalid: true, ..AckOutcome::default() };
        }
        let Some(ahead) = through.checked_sub(self.base) else { return AckOutcome::default() };
        let min_rtt = path.rtt.min();
        let srtt = path.rtt.smoothed().unwrap_or_default();
        let mut nacks = nacks.iter().copied().skip_while(|n| *n < self.base).peekable();
        let (mut acked, mut landed, mut mark) = (0, 0, 0);
        let mut sample: Option<Instant> = None;
        for (sequence, sent) in (self.base..).zip(self.window.iter_mut()).take(ahead as usize + 1) {
            while nacks.next_if(|n| *n < sequence).is_some() {}
            if nacks.next_if_eq(&sequence).is_some() || sent.state == State::Acked {
                continue;
            }
            match sent.state {
                State::Flying => landed += 1,
                State::Adrift => self.adrift = self.adrift.saturating_sub(1),
                State::Lost => {
                    self.lost.remove(&sequence);
                }
                State::Acked => {}
            }
            sent.state = State::Acked;
            acked += 1;
            mark = mark.max(sent.mark);
            let since = now.saturating_since(sent.sent);
            let spurious = sent.sends > 1 && min_rtt.is_some_and(|min| since < min * 3 / 4);
            if spurious {
                // This is for the transmission before: it was late, not lost.
                let late = now.saturating_since(sent.before).saturating_sub(srtt);
                path.reordering.seen(late);
                continue;
            }
            if sent.sends == 1 {
                sample = sample.max(Some(sent.sent));
            }
            self.newest_acked = self.newest_acked.max(Some(sent.transmission));
        }
        self.flying -= landed.min(self.flying);
        let sample = sample.map(|sent| now.saturating_since(sent));
        if let Some(sample) = sample {
            path.rtt.sample(now, sample);
        }
        path.reordering.acked(acked);
        // What is found lost before the window is told of the rest belongs to the same round.
        self.find_lost(now, path);
        path.congestion.acked(now, &mut path.rtt, acked, landed, mark, sample);
        let progress = self.drop_acked();
        if acked > 0 {
            self.timeouts = 0;
            self.probes = 0;
            if !self.choked {
                self.max_span = (self.max_span + acked.div_ceil(8)).min(self.span_cap);
            }
            self.restart_timer(now, path);
        }
        AckOutcome { acked, progress, invalid: false }
    }

    fn drop_acked(&mut self) -> bool {
        let mut bytes = 0;
        let before = self.base;
        while self.window.front().is_some_and(|sent| sent.state == State::Acked) {
            if let Some(sent) = self.window.pop_front() {
                bytes += usize::from(sent.len);
                self.base += 1;
            }
        }
        self.data.drop_front(bytes);
        self.kept_from += bytes as u64;
        self.base > before
    }

    fn find_lost(&mut self, now: Instant, path: &mut Path) {
        self.loss_at = None;
        let Some(newest) = self.newest_acked else { return };
        let rtt = path.rtt.pessimistic().unwrap_or_default();
        // On a path that keeps its order this only catches what the threshold cannot: the end of
        // a flight.
        let reordering = path.reordering.patience();
        let patience = rtt * 9 / 8 + reordering;
        let mut lost = 0;
        while let Some((transmission, sequence)) = self.order.front().copied() {
            let index = sequence.checked_sub(self.base).map(|index| index as usize);
            let sent = index
                .and_then(|index| self.window.get_mut(index))
                .filter(|sent| sent.transmission == transmission && sent.is_out());
            let Some(sent) = sent else {
                self.order.pop_front();
                continue;
            };
            if transmission > newest {
                break;
            }
            let overtaken = reordering == Duration::ZERO && transmission + THRESHOLD <= newest;
            let late = sent.sent + patience;
            if !overtaken && now < late {
                self.loss_at = Some(late);
                break;
            }
            match core::mem::replace(&mut sent.state, State::Lost) {
                State::Adrift => self.adrift = self.adrift.saturating_sub(1),
                State::Flying | State::Lost | State::Acked => lost += 1,
            }
            self.lost.insert(sequence);
            self.order.pop_front();
        }
        self.flying -= lost.min(self.flying);
        path.congestion.lost(lost);
    }

    /// Time passed. True when a timeout fell due: nothing was heard for too long.
    pub(crate) fn handle_timeout(&mut self, now: Instant, path: &mut Path) -> bool {
        if self.loss_at.is_some_and(|at| at <= now) {
            self.find_lost(now, path);
        }
        if self.timeout_at.is_none_or(|at| at > now) {
            return false;
        }
        self.timeout_at = None;
        if self.window.is_empty() && !(self.choked && self.has_fresh()) {
            return false;
        }
        self.timeouts = self.timeouts.saturating_add(1);
        self.cast_adrift(now, path);
        // One to ask, and after the first silence two, in case it is only loss.
        self.probes = if self.timeouts > 1 && self.base > 0 && !self.choked { 2 } else { 1 };
        self.timeout_at = Some(now + self.interval(path));
        true
    }

    /// Others on the path were heard while these packets were not: the window is not to wait for
    /// them. A peer that has dropped one stream would otherwise hold up all the others to it.
    fn cast_adrift(&mut self, now: Instant, path: &mut Path) {
        let Some(heard) = path.heard else { return };
        let overdue = path.rtt.timeout();
        let mut count = 0;
        for sent in &mut self.window {
            let late = now.saturating_since(sent.sent) >= overdue && sent.sent < heard;
            if sent.state == State::Flying && late {
                sent.state = State::Adrift;
                count += 1;
            }
        }
        self.flying = self.flying.saturating_sub(count);
        self.adrift += count;
        path.congestion.released(count);
    }

    /// The owner has chosen other tunnels: ask at once whether it helped, and until `patience`
    /// wait for the answer.
    pub(crate) fn rerouted(&mut self, patience: Instant) {
        if self.timeouts == 0 {
            return;
        }
        self.probes = self.probes.max(1);
        // The schedule of a SYN stays: each one may be a new session to the peer.
        if self.base > 0 {
            self.timeouts = 1;
            self.timeout_at = Some(patience);
        }
    }

    /// Sends the oldest packet again now: the peer shows that it has not got it.
    pub(crate) fn probe(&mut self) {
        if !self.window.is_empty() {
            self.probes = self.probes.max(1);
        }
    }

    /// When the oldest packet was sent last.
    pub(crate) fn oldest_sent(&self) -> Option<Instant> {
        self.window.front().map(|sent| sent.sent)
    }

    /// Drops everything; what is under way is no longer counted.
    pub(crate) fn abandon(&mut self, path: &mut Path) {
        path.congestion.released(self.flying);
        *self = Self { base: self.next_sequence(), close_sent: true, ..Self::new(0, true) };
    }

    /// The next deadline.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        earliest(self.timeout_at, self.loss_at)
    }

    fn restart_timer(&mut self, now: Instant, path: &Path) {
        let waits = !self.window.is_empty() || (self.choked && self.has_fresh());
        self.timeout_at = waits.then(|| now + self.interval(path));
    }

    /// How long to wait for an ack this time.
    fn interval(&self, path: &Path) -> Duration {
        let doubled = 1 << self.timeouts.min(8);
        if self.base == 0 {
            let known = path.rtt.smoothed().map(|_| path.rtt.timeout() * 3);
            let first = known.map_or(SYN_FIRST, |t| t.clamp(SYN_FIRST_KNOWN, SYN_FIRST));
            return (first * doubled).min(SYN_LAST);
        }
        let timeout = path.rtt.timeout() + path.reordering.patience();
        let timeout = if self.choked { timeout.max(MIN_PERSIST) } else { timeout };
        (timeout * doubled).min(MAX_BACKOFF.max(timeout))
    }
}

#[cfg(test)]
mod tests;
