//! What the peer has confirmed of what we sent: acks, room in its tag window, doubt.
//!
//! The layer has no retransmission and hardly any feedback: a message counts as received when its
//! Ack came, or, for want of those, when the peer has spoken some time after it was sent.

use crate::time::Instant;
use crate::wire::garlic::MessageNumber;
use alloc::collections::VecDeque;
use core::time::Duration;

/// Messages that a fresh session may have unconfirmed: receivers look 24 ahead at first, and
/// farther by a quarter of what they received.
const FIRST_WINDOW: u32 = 20;
/// The same in a later set: receivers look at least 160 ahead.
const LATER_WINDOW: u32 = 128;
/// Messages that a session may have unconfirmed at most: who streams to the full needs no more, and
/// receivers look 320 ahead, or 800.
const MAX_WINDOW: u32 = 256;
/// What was sent this long before the peer spoke is taken as received.
const CONFIRMED_AFTER: Duration = Duration::from_secs(2);
/// An Ack is requested again after this.
const REQUEST_AGAIN: Duration = Duration::from_secs(2);
/// An Ack is requested with the first message, and then once in so many, whether the one before has
/// come or not: acknowledgements a round trip apart would let only bursts through.
const REQUEST_EVERY: u32 = 8;
/// Silence of this length, while answers are expected, makes the session doubtful.
const DOUBT_AFTER: Duration = Duration::from_secs(5);
/// After a pause of this length an old unanswered message says nothing any more.
const PAUSE: Duration = Duration::from_secs(30);
/// The peer speaks, has acknowledged before, but not the last request in so many messages: it
/// does not receive.
const DEAF_AFTER: u32 = 4;
/// Requests remembered at most.
const MAX_REQUESTS: usize = 32;
/// Marks kept: one in [`MARK_EVERY`] covers several seconds.
const MAX_MARKS: usize = 64;
const MARK_EVERY: Duration = Duration::from_millis(100);
/// With a full window, one message in this time still goes.
const PROBE_EVERY: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Flight {
    /// The set that `confirmed` and the marks count in.
    set: u16,
    /// Messages of the set taken as received: all below this index.
    confirmed: u32,
    /// Which index was next at what time.
    marks: VecDeque<(u32, Instant)>,
    /// The request whose Ack is missed most, and when we made it: the oldest since the latest Ack,
    /// or the one that repeated it.
    request: Option<(MessageNumber, Instant)>,
    /// All Acks we asked for and have not got.
    requests: VecDeque<MessageNumber>,
    /// Messages since the last request.
    since_request: u32,
    /// Messages of the peer since the last request.
    heard_since_request: u32,
    /// The peer is known to acknowledge.
    acked: bool,
    last_sent: Option<Instant>,
    /// The first message that still waits for an answer.
    unanswered: Option<Instant>,
    /// The owner has told us of its doubt.
    suspected: bool,
}

impl Flight {
    /// True if the next message should ask for an Ack.
    pub(super) fn wants_ack(&self, now: Instant) -> bool {
        match self.request {
            None if !self.acked && self.since_request == 0 && self.confirmed == 0 => true,
            None => self.since_request >= REQUEST_EVERY,
            Some((_, at)) => {
                self.since_request >= REQUEST_EVERY || now.saturating_since(at) >= REQUEST_AGAIN
            }
        }
    }

    /// A message went out.
    pub(super) fn sent(
        &mut self,
        now: Instant,
        number: MessageNumber,
        requests_ack: bool,
        expects_reply: bool,
    ) {
        if number.set != self.set {
            self.set = number.set;
            self.confirmed = 0;
            self.marks.clear();
        }
        let next = u32::from(number.index) + 1;
        if self.marks.back().is_none_or(|(_, at)| now.saturating_since(*at) >= MARK_EVERY) {
            if self.marks.len() >= MAX_MARKS {
                self.marks.pop_front();
            }
            self.marks.push_back((next, now));
        }
        self.since_request = self.since_request.saturating_add(1);
        if requests_ack {
            if self.requests.len() >= MAX_REQUESTS {
                self.requests.pop_front();
            }
            self.requests.push_back(number);
            self.since_request = 0;
            if self.request.is_none_or(|(_, at)| now.saturating_since(at) >= REQUEST_AGAIN) {
                self.request = Some((number, now));
                self.heard_since_request = 0;
            }
        }
        if self.last_sent.is_none_or(|at| now.saturating_since(at) >= PAUSE) {
            self.unanswered = None;
        }
        if expects_reply {
            self.unanswered.get_or_insert(now);
        }
        self.last_sent = Some(now);
    }

    /// The peer said something on this session.
    pub(super) fn heard(&mut self, now: Instant) {
        while let Some((next, at)) = self.marks.front()
            && now.saturating_since(*at) >= CONFIRMED_AFTER
        {
            self.confirmed = self.confirmed.max(*next);
            self.marks.pop_front();
        }
        self.heard_since_request = self.heard_since_request.saturating_add(1);
        self.unanswered = None;
        self.suspected = false;
    }

    /// The peer acknowledged message `number`. False if it was not asked to.
    pub(super) fn acked(&mut self, number: MessageNumber) -> bool {
        let Some(at) = self.requests.iter().position(|requested| *requested == number) else {
            return false;
        };
        self.requests.remove(at);
        self.acked = true;
        if number.set == self.set {
            self.confirmed = self.confirmed.max(u32::from(number.index) + 1);
        }
        if self.request.is_some_and(|(requested, _)| requested <= number) {
            self.request = None;
        }
        true
    }

    /// The owner doubts that the peer hears us.
    pub(super) const fn suspect(&mut self) {
        self.suspected = true;
    }

    /// True if the peer seems to have lost the session.
    pub(super) fn is_doubtful(&self, now: Instant) -> bool {
        let overdue = |at: Instant| now.saturating_since(at) >= DOUBT_AFTER;
        let deaf = self.acked
            && self.heard_since_request >= DEAF_AFTER
            && self.request.is_some_and(|(_, at)| overdue(at));
        self.suspected || deaf || self.unanswered.is_some_and(overdue)
    }

    /// Messages that may follow now, `sent` being the next index in `set`, such that the peer's
    /// window still reaches the last one if all unconfirmed ones are lost.
    pub(super) fn room(&self, now: Instant, set: u16, sent: u32) -> u32 {
        let confirmed = if set == self.set { self.confirmed } else { 0 };
        let window = if set == 0 { FIRST_WINDOW } else { LATER_WINDOW } + confirmed / 4;
        let room = window.min(MAX_WINDOW).saturating_sub(sent.saturating_sub(confirmed));
        room.max(u32::from(self.probe_at(now) <= now))
    }

    /// When one message may go all the same.
    pub(super) fn probe_at(&self, now: Instant) -> Instant {
        self.last_sent.map_or(now, |at| at + PROBE_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    const fn number(index: u16) -> MessageNumber {
        MessageNumber { set: 0, index }
    }

    #[test]
    fn room_shrinks_as_messages_go_and_grows_as_they_are_confirmed() {
        let mut flight = Flight::default();
        for index in 0..20 {
            assert_eq!(flight.room(at(0), 0, index.into()), 20 - u32::from(index));
            flight.sent(at(0), number(index), index == 11, true);
        }
        assert_eq!(flight.room(at(999), 0, 20), 0);
        assert_eq!(flight.room(at(1000), 0, 20), 1, "a probe");
        assert!(!flight.acked(number(19)), "not asked for");
        assert!(!flight.acked(number(999)));
        assert!(flight.acked(number(11)));
        assert!(!flight.acked(number(11)), "only once");
        assert_eq!(flight.room(at(0), 0, 20), 20 + 3 - 8);
        // Without an Ack: the peer spoke, but not late enough to have heard it all.
        flight.heard(at(1999));
        assert_eq!(flight.room(at(0), 0, 20), 15);
        flight.sent(at(2000), number(20), false, true);
        flight.heard(at(2001));
        assert_eq!(flight.room(at(2001), 0, 21), 15 - 1, "marks stand 100 ms apart");
        flight.heard(at(4000));
        assert_eq!(flight.room(at(2001), 0, 21), 20 + 5);
        assert_eq!(flight.room(at(2001), 1, 0), 128);
    }

    #[test]
    fn acks_are_requested_at_once_and_then_regularly() {
        let mut flight = Flight::default();
        let mut requests = Vec::new();
        for index in 0..40 {
            let wants = flight.wants_ack(at(index.into()));
            flight.sent(at(index.into()), number(index), wants, true);
            if wants {
                requests.push(index);
                assert!(flight.acked(number(index)));
            }
        }
        assert_eq!(requests, [0, 9, 18, 27, 36]);
        flight.sent(at(100), number(40), true, true);
        assert!(!flight.wants_ack(at(2099)));
        assert!(flight.wants_ack(at(2100)), "the request or its answer was lost");
    }

    #[test]
    fn silence_breeds_doubt_and_any_word_dispels_it() {
        let mut flight = Flight::default();
        flight.sent(at(0), number(0), false, true);
        assert!(!flight.is_doubtful(at(4999)));
        assert!(flight.is_doubtful(at(5000)));
        flight.heard(at(5000));
        assert!(!flight.is_doubtful(at(60_000)));
        flight.suspect();
        assert!(flight.is_doubtful(at(60_000)));
        flight.heard(at(60_000));
        assert!(!flight.is_doubtful(at(60_000)));
        // A last word that needs no answer, and a pause, do not.
        flight.sent(at(60_000), number(1), false, false);
        assert!(!flight.is_doubtful(at(80_000)));
        flight.sent(at(80_000), number(2), false, true);
        flight.sent(at(111_000), number(3), false, true);
        assert!(!flight.is_doubtful(at(112_000)));
        assert!(flight.is_doubtful(at(116_000)));
    }

    #[test]
    fn a_peer_that_speaks_but_stops_to_acknowledge_is_doubted() {
        for acked in [true, false] {
            let mut flight = Flight::default();
            flight.sent(at(0), number(0), true, true);
            assert!(!acked || flight.acked(number(0)));
            flight.sent(at(10), number(1), true, true);
            for ms in [1000, 2000, 3000, 6000] {
                flight.heard(at(ms));
            }
            assert_eq!(flight.is_doubtful(at(6000)), acked);
            assert!(flight.acked(number(1)));
            assert!(!flight.is_doubtful(at(6000)));
        }
    }

    use alloc::vec::Vec;
}
