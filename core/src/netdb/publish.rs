//! Keeping one entry of ours stored: whom to give it to next, whether it arrived, and whether it
//! is still there (notes 7.2 and 7.3).
//!
//! A floodfill confirms before it has checked or passed on anything, so a confirmation says little:
//! after some seconds *another* floodfill is asked, and what is missing or old is stored again,
//! elsewhere. Near midnight the entry is also given to a floodfill that is near its key of the
//! next day.

use super::lookup::Unsent;
use super::routing_key::until_midnight;
use crate::rng::Rng;
use crate::time::{Instant, UnixTime, earliest};
use crate::wire::hash::Hash;
use crate::wire::i2np::StoreEntry;
use alloc::vec::Vec;
use core::time::Duration;

/// Stores whose late confirmation still counts.
pub(crate) const MAX_TOKENS: usize = 8;
/// The wait after all attempts of a round failed, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The doubling ends here.
const MAX_PAUSE: Duration = Duration::from_secs(160);
/// The wait while no floodfill is known at all.
const NO_FLOODFILL_PAUSE: Duration = Duration::from_secs(5);
/// The wait for a tunnel, if nobody tells us of one.
const NO_TUNNEL_PAUSE: Duration = Duration::from_secs(1);
/// When nobody answered the question whether the entry is there, it is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Which floodfills an entry is given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// Those nearest to its key.
    Today,
    /// Those nearest to its key outside of a suspicious crowd.
    Beyond,
    /// Those nearest to its key of the next day.
    Tomorrow,
}

/// What differs between a RouterInfo and a lease set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Between the stores of two versions; some floodfills pass on one key three times in 90 s.
    pub(crate) gap: Duration,
    /// Floodfills tried in one round.
    pub(crate) attempts: usize,
    /// From the confirmation to the question whether it is there, and some more at random.
    pub(crate) verify_after: Duration,
    pub(crate) verify_jitter: Duration,
    /// Asked again in this period; `None`: once is enough.
    pub(crate) recheck: Option<Duration>,
    /// This long before midnight it is given to the next day's floodfills.
    pub(crate) tomorrow_window: Duration,
}

impl Rules {
    /// For our RouterInfo.
    pub(crate) const ROUTER_INFO: Self = Self {
        gap: Duration::from_secs(60),
        attempts: 15,
        verify_after: Duration::from_secs(15),
        verify_jitter: Duration::from_secs(10),
        recheck: None,
        tomorrow_window: Duration::from_secs(20 * 60),
    };
    /// For a destination's lease set.
    pub(crate) const LEASE_SET: Self = Self {
        gap: Duration::from_secs(20),
        attempts: 7,
        verify_after: Duration::from_secs(8),
        verify_jitter: Duration::from_secs(4),
        recheck: Some(Duration::from_secs(120)),
        tomorrow_window: Duration::from_secs(10 * 60),
    };
}

/// What another floodfill said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has our version, or a newer one.
    There,
    /// It has none, or an old one.
    Missing,
    /// Nobody answered.
    Silent,
}

/// What a publication wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Give it to the nearest floodfill of `place` that is not excluded. Answer with
    /// [`Publication::sent`] or [`Publication::no_floodfill`].
    Store { place: Place, exclude: Vec<Hash> },
    /// Ask the nearest floodfills but these whether they have it: not who confirmed it, nor who
    /// lost it before or did not answer. Answer, now or later, with [`Publication::verified`].
    Verify { exclude: Vec<Hash> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be stored.
    Due { at: Instant },
    /// Given away, not confirmed yet.
    Storing { due: Instant },
    /// Confirmed.
    Confirmed { by: Hash, verify_at: Instant },
    /// The question is out.
    Verifying { by: Hash },
    /// All is well.
    Settled { by: Hash, recheck: Option<Instant> },
}

struct Leg {
    place: Place,
    state: State,
    /// Floodfills tried in this round.
    tried: Vec<Hash>,
    pauses: u32,
    silent: u32,
    /// It is due, but for a tunnel.
    tunnelless: bool,
    /// Confirmations wanted.
    copies: u32,
}

struct Token {
    token: u32,
    place: Place,
    floodfill: Hash,
    sent: Instant,
}

/// A store that was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Confirmed {
    pub(crate) floodfill: Hash,
    pub(crate) latency: Duration,
}

/// The machine. After each mutation drain [`Self::poll_step`], then [`Self::poll_timeout`].
pub(crate) struct Publication {
    entry: StoreEntry,
    rules: Rules,
    legs: Vec<Leg>,
    tokens: Vec<Token>,
    last_sent: Option<Instant>,
    day: [u8; 8],
}

impl Publication {
    /// Starts to store `entry`; `crowded` when somebody gathered floodfills around its key.
    pub(crate) fn new(
        now: Instant,
        unix: UnixTime,
        entry: StoreEntry,
        rules: Rules,
        crowded: bool,
    ) -> Self {
        let mut publication = Self {
            entry,
            rules,
            legs: Vec::new(),
            tokens: Vec::new(),
            last_sent: None,
            day: unix.yyyymmdd(),
        };
        publication.restart(now, unix, crowded);
        publication
    }

    /// What is stored.
    pub(crate) fn entry(&self) -> &StoreEntry {
        &self.entry
    }

    /// Replaces the entry by a newer version and stores that, at once or when the gap is over.
    pub(crate) fn replace(
        &mut self,
        now: Instant,
        unix: UnixTime,
        entry: StoreEntry,
        crowded: bool,
    ) {
        self.entry = entry;
        self.tokens.clear();
        let confirmed = self.is_confirmed();
        let start = match self.last_sent {
            Some(sent) if confirmed => now.max(sent + self.rules.gap),
            Some(_) | None => now,
        };
        self.restart(start, unix, crowded);
    }

    /// True once a floodfill confirmed the present version.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.legs.first().is_some_and(|leg| {
            matches!(
                leg.state,
                State::Confirmed { .. } | State::Verifying { .. } | State::Settled { .. }
            )
        })
    }

    /// True once another floodfill was seen to have the present version.
    pub(crate) fn is_verified(&self) -> bool {
        self.legs.first().is_some_and(|leg| matches!(leg.state, State::Settled { .. }))
    }

    /// The store of the last step went to `floodfill`, and is due to be confirmed after `timeout`.
    /// Returns the floodfills whose tokens had to make room.
    pub(crate) fn sent(
        &mut self,
        now: Instant,
        place: Place,
        floodfill: Hash,
        token: u32,
        timeout: Duration,
    ) -> Option<u32> {
        self.last_sent = Some(now);
        let dropped = (self.tokens.len() >= MAX_TOKENS).then(|| self.tokens.remove(0).token);
        self.tokens.push(Token { token, place, floodfill, sent: now });
        if let Some(leg) = self.leg(place) {
            leg.tried.push(floodfill);
            leg.tunnelless = false;
            leg.state = State::Storing { due: now + timeout };
        }
        dropped
    }

    /// There is nobody left to store to.
    pub(crate) fn no_floodfill(&mut self, now: Instant, place: Place) {
        if let Some(leg) = self.leg(place) {
            let pause = if leg.tried.is_empty() { NO_FLOODFILL_PAUSE } else { leg.next_pause() };
            leg.tried.clear();
            leg.state = State::Due { at: now + pause };
        }
    }

    /// The store with this token could not be sent: on to the next floodfill, or to the same one
    /// when there is a tunnel.
    pub(crate) fn handle_unsent(&mut self, now: Instant, token: u32, why: Unsent) {
        let Some(at) = self.tokens.iter().position(|t| t.token == token) else { return };
        let Token { place, floodfill, .. } = self.tokens.remove(at);
        let attempts = self.rules.attempts;
        if let Some(leg) = self.leg(place)
            && matches!(leg.state, State::Storing { .. })
        {
            match why {
                Unsent::Unreachable => leg.attempt_failed(now, attempts),
                Unsent::NoTunnel => {
                    leg.tried.retain(|tried| *tried != floodfill);
                    leg.state = State::Due { at: now + NO_TUNNEL_PAUSE };
                    leg.tunnelless = true;
                }
            }
        }
    }

    /// There are tunnels: who waits for one need not any more.
    pub(crate) fn handle_tunnels(&mut self, now: Instant) {
        for leg in &mut self.legs {
            if let State::Due { at } = &mut leg.state
                && core::mem::take(&mut leg.tunnelless)
            {
                *at = now.min(*at);
            }
        }
    }

    /// Tokens of stores that this floodfill has not confirmed.
    pub(crate) fn tokens_at(&self, floodfill: &Hash) -> impl Iterator<Item = u32> {
        self.tokens.iter().filter(move |t| t.floodfill == *floodfill).map(|t| t.token)
    }

    /// A DeliveryStatus with this token arrived. `None` when it is not one of the present version.
    pub(crate) fn handle_confirmed(
        &mut self,
        now: Instant,
        token: u32,
        rng: &mut Rng,
    ) -> Option<Confirmed> {
        let at = self.tokens.iter().position(|t| t.token == token)?;
        let Token { place, floodfill, sent, .. } = self.tokens.remove(at);
        let jitter = u64::try_from(self.rules.verify_jitter.as_millis()).unwrap_or(0);
        let verify_at =
            now + self.rules.verify_after + Duration::from_millis(rng.below(jitter + 1));
        if let Some(leg) = self.leg(place)
            && matches!(leg.state, State::Due { .. } | State::Storing { .. })
        {
            leg.copies = leg.copies.saturating_sub(1);
            leg.state = match leg.copies {
                0 => State::Confirmed { by: floodfill, verify_at },
                _ => State::Due { at: now },
            };
        }
        Some(Confirmed { floodfill, latency: now.saturating_since(sent) })
    }

    /// The answer to [`Step::Verify`].
    pub(crate) fn verified(&mut self, now: Instant, verdict: Verdict) {
        let recheck = self.rules.recheck.map(|period| now + period);
        let Some(leg) = self.leg(Place::Today) else { return };
        let State::Verifying { by } = leg.state else { return };
        match verdict {
            Verdict::There => {
                leg.state = State::Settled { by, recheck };
                leg.tried.clear();
                leg.pauses = 0;
                leg.silent = 0;
            }
            Verdict::Silent if leg.silent == 0 => {
                leg.silent = 1;
                leg.state = State::Confirmed { by, verify_at: now + ASK_AGAIN };
            }
            Verdict::Silent | Verdict::Missing => {
                leg.silent = 0;
                if !leg.tried.contains(&by) {
                    leg.tried.push(by);
                }
                leg.state = State::Due { at: now };
            }
        }
    }

    /// Called now and then: turns to the keys of the next day in time.
    pub(crate) fn handle_day(&mut self, now: Instant, unix: UnixTime, rng: &mut Rng) {
        let day = unix.yyyymmdd();
        if day != self.day {
            self.day = day;
            let tomorrow = self.legs.extract_if(.., |l| l.place == Place::Tomorrow).next();
            let stored = tomorrow.and_then(|l| match l.state {
                State::Confirmed { by, verify_at } => Some((by, verify_at)),
                State::Due { .. }
                | State::Storing { .. }
                | State::Verifying { .. }
                | State::Settled { .. } => None,
            });
            let later = now + Duration::from_millis(rng.below(20_000));
            if let Some(leg) = self.leg(Place::Today) {
                leg.tried.clear();
                leg.state = match stored {
                    Some((by, verify_at)) => {
                        State::Confirmed { by, verify_at: verify_at.max(later) }
                    }
                    None => State::Due { at: later },
                };
            }
        } else if until_midnight(unix) <= self.rules.tomorrow_window
            && self.leg(Place::Tomorrow).is_none()
        {
            // Not everybody at the same moment.
            let half = u64::try_from(self.rules.tomorrow_window.as_millis() / 2).unwrap_or(0);
            let left = u64::try_from(until_midnight(unix).as_millis() * 3 / 4).unwrap_or(0);
            let wait = Duration::from_millis(rng.below(half.min(left) + 1));
            self.legs.push(Leg::new(Place::Tomorrow, now + wait));
        }
    }

    /// Gives up waiting for confirmations. Returns the floodfills that did not confirm.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<Hash> {
        let attempts = self.rules.attempts;
        let mut silent = Vec::new();
        for leg in &mut self.legs {
            if let State::Storing { due } = leg.state
                && due <= now
            {
                silent.extend(leg.tried.last());
                leg.attempt_failed(now, attempts);
            }
        }
        silent
    }

    /// What to do next.
    #[must_use]
    pub(crate) fn poll_step(&mut self, now: Instant) -> Option<Step> {
        self.legs.iter_mut().find_map(|leg| match leg.state {
            State::Due { at } if at <= now => {
                Some(Step::Store { place: leg.place, exclude: leg.tried.clone() })
            }
            State::Confirmed { by, verify_at } if verify_at <= now && leg.place == Place::Today => {
                leg.state = State::Verifying { by };
                Some(leg.verify(by))
            }
            State::Settled { by, recheck: Some(at) } if at <= now => {
                leg.state = State::Verifying { by };
                Some(leg.verify(by))
            }
            State::Due { .. }
            | State::Storing { .. }
            | State::Confirmed { .. }
            | State::Verifying { .. }
            | State::Settled { .. } => None,
        })
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_step`] at the latest.
    #[must_use]
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.legs.iter().fold(None, |first, leg| {
            let next = match leg.state {
                State::Due { at } => Some(at),
                State::Storing { due } => Some(due),
                State::Confirmed { verify_at, .. } => {
                    (leg.place == Place::Today).then_some(verify_at)
                }
                State::Verifying { .. } => None,
                State::Settled { recheck, .. } => recheck,
            };
            earliest(first, next)
        })
    }

    /// All tokens that are waited for.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = u32> {
        self.tokens.iter().map(|t| t.token)
    }

    fn restart(&mut self, start: Instant, unix: UnixTime, crowded: bool) {
        self.day = unix.yyyymmdd();
        self.legs.clear();
        self.legs.push(Leg::new(Place::Today, start));
        if crowded {
            self.legs.push(Leg::new(Place::Beyond, start));
        }
        if until_midnight(unix) <= self.rules.tomorrow_window {
            self.legs.push(Leg::new(Place::Tomorrow, start + Duration::from_secs(2)));
        }
    }

    fn leg(&mut self, place: Place) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|l| l.place == place)
    }
}

impl Leg {
    const fn new(place: Place, at: Instant) -> Self {
        // Who is outside of a crowd passes it on to the crowd only, so one copy is too few.
        let copies = match place {
            Place::Today | Place::Tomorrow => 1,
            Place::Beyond => 2,
        };
        Self {
            place,
            state: State::Due { at },
            tried: Vec::new(),
            pauses: 0,
            silent: 0,
            tunnelless: false,
            copies,
        }
    }

    fn attempt_failed(&mut self, now: Instant, attempts: usize) {
        let mut at = now;
        if self.tried.len() >= attempts {
            at = now + self.next_pause();
            self.tried.clear();
        }
        self.state = State::Due { at };
    }

    fn verify(&self, by: Hash) -> Step {
        let mut exclude = self.tried.clone();
        if !exclude.contains(&by) {
            exclude.push(by);
        }
        Step::Verify { exclude }
    }

    fn next_pause(&mut self) -> Duration {
        let pause = (FIRST_PAUSE * (1 << self.pauses.min(8))).min(MAX_PAUSE);
        self.pauses += 1;
        pause
    }
}

#[cfg(test)]
mod tests;
