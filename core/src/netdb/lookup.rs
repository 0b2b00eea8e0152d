//! One iterative lookup: whom to ask next, over hashes alone (notes 7.5, netdb documentation,
//! "Lookups").
//!
//! Floodfills are asked on two disjoint paths, each nearest first and one at a time, the second
//! path a little later than the first. A reply is believed only in that it may name routers nearer
//! to the key than its sender, and what it names is followed on its sender's path only: a liar
//! spoils the path that it is on. An answer after its query's timeout still counts until the whole
//! lookup ends. A floodfill is asked once; only when nobody else is left, those that did not
//! answer are asked again, since tunnels lose messages.

use super::StoreError;
use super::routing_key::{Distance, RoutingKey};
use crate::audit::Audit;
use crate::time::{Instant, earliest};
use crate::wire::hash::Hash;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

/// Floodfills asked on one path.
pub(crate) const MAX_QUERIES_PER_PATH: usize = 6;
/// Floodfills asked again on one path.
const MAX_RETRIES_PER_PATH: usize = 2;
/// When nobody answered at all, the last query is waited for this long.
const LINGER: Duration = Duration::from_secs(6);
/// Without a tunnel, a path waits this long for one.
const NO_TUNNEL_PAUSE: Duration = Duration::from_millis(500);
/// A path keeps this many floodfills to ask, the nearest.
pub(crate) const MAX_WAITING: usize = 16;

/// Why a lookup found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupFailure {
    /// No floodfill is known that could be asked.
    #[error("no floodfill known")]
    NoFloodfill,
    /// Floodfills answered that they do not have it.
    #[error("not in the network database")]
    NotStored,
    /// Nobody answered.
    #[error("no floodfill answered in time")]
    TimedOut,
    /// It was looked for several times a moment ago, without success.
    #[error("not found a moment ago")]
    Cached,
    /// Too many lookups are under way.
    #[error("too many lookups")]
    Busy,
    /// There was no tunnel to ask through.
    #[error("no tunnels to ask through")]
    NoTunnel,
    /// It was found, and is of no use.
    #[error("found, but refused: {0}")]
    Refused(StoreError),
}

/// Why a query or a store did not leave. Never the fault of the floodfill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// There is no tunnel at the moment: all that want one wait.
    NoTunnel,
    /// There is no way to this floodfill: another one is tried.
    Unreachable,
}

/// The limits of one lookup.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// In all, for every path together.
    pub(crate) total: Duration,
    /// Queries on each path, at most [`MAX_QUERIES_PER_PATH`].
    pub(crate) per_path: usize,
    /// The second path starts this much later.
    pub(crate) stagger: Duration,
}

/// What a lookup wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask this floodfill.
    Ask(Hash),
    /// It is over without success.
    Failed(LookupFailure),
}

/// A query that a reply answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    /// Whose.
    pub(crate) floodfill: Hash,
    /// The path that it is on.
    pub(crate) path: usize,
    /// From the query to the reply; `None` when it was asked twice, so that it cannot be told.
    pub(crate) latency: Option<Duration>,
}

struct Query {
    path: usize,
    sent: Instant,
    /// `None` once answered, timed out or failed.
    due: Option<Instant>,
    /// A second answer of the same floodfill counts for nothing.
    answered: bool,
    retried: bool,
    /// It goes over a session, which may still be dialled.
    direct: bool,
}

impl Query {
    fn answer(&self, floodfill: &Hash, now: Instant) -> Answered {
        let latency = (!self.retried).then(|| now.saturating_since(self.sent));
        Answered { floodfill: *floodfill, path: self.path, latency }
    }
}

/// Where one path begins.
pub(crate) struct Start {
    /// The place of the key.
    pub(crate) target: RoutingKey,
    /// Nobody nearer than this share of the keyspace, in 2^-64, is followed: 0 but for paths that
    /// keep out of a suspicious crowd.
    pub(crate) floor: u64,
    /// Floodfills to begin with.
    pub(crate) floodfills: Vec<Hash>,
}

struct Path {
    target: RoutingKey,
    floor: u64,
    starts: Instant,
    /// Floodfills to ask, nearest first.
    waiting: BTreeMap<Distance, Hash>,
    /// RouterInfos under way for this path.
    fetching: usize,
    queries: usize,
    retries: usize,
    /// Nothing is asked before this: there was no tunnel.
    paused: Option<Instant>,
}

/// The machine. After each mutation drain [`Self::poll_step`], then [`Self::poll_timeout`].
pub(crate) struct Lookup {
    paths: Vec<Path>,
    asked: BTreeMap<Hash, Query>,
    deadline: Instant,
    per_path: usize,
    negatives: usize,
    /// Some query found no tunnel.
    no_tunnel: bool,
}

impl Lookup {
    /// A lookup along `paths`. A floodfill that is on two of them is asked once.
    pub(crate) fn new(
        now: Instant,
        limits: Limits,
        paths: impl IntoIterator<Item = Start>,
    ) -> Self {
        let mut starts = now;
        let paths = paths
            .into_iter()
            .map(|Start { target, floor, floodfills }| {
                let waiting = BTreeMap::new();
                let (fetching, queries, retries, paused) = (0, 0, 0, None);
                let mut path =
                    Path { target, floor, starts, waiting, fetching, queries, retries, paused };
                floodfills.into_iter().for_each(|f| path.add(f));
                starts = starts + limits.stagger;
                path
            })
            .collect();
        Self {
            paths,
            asked: BTreeMap::new(),
            deadline: now + limits.total,
            per_path: limits.per_path.min(MAX_QUERIES_PER_PATH),
            negatives: 0,
            no_tunnel: false,
        }
    }

    /// What is held, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        for path in &self.paths {
            audit.see("netdb: floodfills to ask", path.waiting.len(), MAX_WAITING);
        }
        let asked = self.paths.len() * (MAX_QUERIES_PER_PATH + MAX_RETRIES_PER_PATH);
        audit.see("netdb: floodfills asked", self.asked.len(), asked);
    }

    /// Floodfills asked so far.
    pub(crate) fn asked(&self) -> impl Iterator<Item = Hash> {
        self.asked.keys().copied()
    }

    /// The one query that an answer without a name must belong to, if there is only one.
    pub(crate) fn only_pending(&self, now: Instant) -> Option<Answered> {
        let mut pending = self.asked.iter().filter(|(_, q)| !q.answered);
        let (floodfill, query) = pending.next()?;
        pending.next().is_none().then(|| query.answer(floodfill, now))
    }

    /// `from` answered that it does not have the entry. `None` when it was not asked, or answered
    /// before.
    pub(crate) fn handle_negative(&mut self, now: Instant, from: &Hash) -> Option<Answered> {
        let query = self.asked.get_mut(from).filter(|q| !q.answered)?;
        query.answered = true;
        query.due = None;
        self.negatives += 1;
        Some(query.answer(from, now))
    }

    /// True when `hash`, named by `from` on `path`, is worth following: nearer to the key than who
    /// named it, and not asked yet.
    pub(crate) fn would_follow(&self, path: usize, from: &Hash, hash: &Hash) -> bool {
        self.paths.get(path).is_some_and(|p| {
            let distance = p.target.distance(hash);
            distance < p.target.distance(from)
                && distance.share() >= p.floor
                && !self.asked.contains_key(hash)
        })
    }

    /// Adds a floodfill that was named on `path` and whose RouterInfo is known.
    pub(crate) fn add(&mut self, path: usize, floodfill: Hash) {
        if !self.asked.contains_key(&floodfill)
            && let Some(path) = self.paths.get_mut(path)
        {
            path.add(floodfill);
        }
    }

    /// The RouterInfo of a floodfill named on `path` is being fetched: the path waits for it when
    /// it has nobody else to ask.
    pub(crate) fn fetch_started(&mut self, path: usize) {
        if let Some(path) = self.paths.get_mut(path) {
            path.fetching += 1;
        }
    }

    /// A fetch ended, one way or the other.
    pub(crate) fn fetch_ended(&mut self, path: usize) {
        if let Some(path) = self.paths.get_mut(path) {
            path.fetching = path.fetching.saturating_sub(1);
        }
    }

    /// The query could not be sent. Counts neither for nor against the floodfill, which is asked
    /// when there is a tunnel, or not at all when there is no way to it.
    pub(crate) fn handle_unsent(&mut self, now: Instant, floodfill: &Hash, why: Unsent) {
        let Some(query) = self.asked.get_mut(floodfill).filter(|q| q.due.is_some()) else { return };
        query.due = None;
        if why == Unsent::Unreachable {
            query.answered = true;
            return;
        }
        self.no_tunnel = true;
        let Some(path) = self.paths.get_mut(query.path) else { return };
        path.paused = Some(now + NO_TUNNEL_PAUSE);
        if query.retried {
            query.retried = false;
            path.retries = path.retries.saturating_sub(1);
        } else {
            self.asked.remove(floodfill);
            path.queries = path.queries.saturating_sub(1);
            path.add(*floodfill);
        }
    }

    /// True when this floodfill's answer is waited for.
    pub(crate) fn waits_for(&self, floodfill: &Hash) -> bool {
        self.asked.get(floodfill).is_some_and(|q| q.due.is_some())
    }

    /// The query goes to this floodfill directly.
    pub(crate) fn went_direct(&mut self, floodfill: &Hash) {
        if let Some(query) = self.asked.get_mut(floodfill) {
            query.direct = true;
        }
    }

    /// True when this floodfill's answer to what goes to it directly is waited for.
    pub(crate) fn waits_directly_for(&self, floodfill: &Hash) -> bool {
        self.asked.get(floodfill).is_some_and(|q| q.due.is_some() && q.direct)
    }

    /// Gives up waiting for queries that are due, and names their floodfills.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<Hash> {
        let mut late = Vec::new();
        for (floodfill, query) in &mut self.asked {
            if query.due.is_some_and(|due| due <= now) {
                query.due = None;
                late.push(*floodfill);
            }
        }
        late
    }

    /// What to do next. A query asked for now is due after `timeout`.
    #[must_use]
    pub(crate) fn poll_step(&mut self, now: Instant, timeout: Duration) -> Option<Step> {
        if now >= self.deadline {
            return Some(Step::Failed(self.failure()));
        }
        let mut alive = false;
        for (index, path) in self.paths.iter_mut().enumerate() {
            // A path that has nothing left to do hands its turn to the next one.
            let started = path.starts <= now || !alive;
            while path.waiting.first_key_value().is_some_and(|(_, f)| self.asked.contains_key(f)) {
                path.waiting.pop_first();
            }
            if self.asked.values().any(|q| q.path == index && q.due.is_some()) {
                alive = true;
                continue;
            }
            if path.paused.is_some_and(|until| until > now) {
                alive = true;
                continue;
            }
            let due = Some(now + timeout);
            if path.queries < self.per_path
                && let Some((distance, floodfill)) = path.waiting.pop_first()
            {
                if !started {
                    path.waiting.insert(distance, floodfill);
                    alive = true;
                    continue;
                }
                path.queries += 1;
                let query = Query {
                    path: index,
                    sent: now,
                    due,
                    answered: false,
                    retried: false,
                    direct: false,
                };
                self.asked.insert(floodfill, query);
                return Some(Step::Ask(floodfill));
            }
            if path.queries < self.per_path && path.fetching > 0 {
                alive = true;
                continue;
            }
            let silent = self.asked.iter_mut();
            let silent = silent.filter(|(_, q)| q.path == index && !q.answered && !q.retried);
            if path.retries < MAX_RETRIES_PER_PATH
                && let Some((floodfill, query)) =
                    silent.min_by_key(|(floodfill, _)| path.target.distance(floodfill))
            {
                path.retries += 1;
                (query.sent, query.due, query.retried) = (now, due, true);
                query.direct = false;
                return Some(Step::Ask(*floodfill));
            }
        }
        let over = !alive && self.lingers_until().is_none_or(|until| until <= now);
        over.then(|| Step::Failed(self.failure()))
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_step`] at the latest.
    #[must_use]
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let due = self.asked.values().filter_map(|q| q.due).min();
        let start = self.paths.iter().map(|p| p.starts).filter(|s| *s > now).min();
        let paused = self.paths.iter().filter_map(|p| p.paused).filter(|s| *s > now).min();
        let start = earliest(start, paused);
        let linger = self.lingers_until().filter(|until| due.is_none() && *until > now);
        earliest(earliest(due, start), Some(linger.unwrap_or(self.deadline).min(self.deadline)))
    }

    /// Until when an answer is waited for although nobody is left to be asked.
    fn lingers_until(&self) -> Option<Instant> {
        let last = self.asked.values().filter(|q| !q.answered).map(|q| q.sent).max();
        last.filter(|_| self.negatives == 0).map(|sent| sent + LINGER)
    }

    fn failure(&self) -> LookupFailure {
        if self.negatives > 0 {
            LookupFailure::NotStored
        } else if self.asked.is_empty() && self.no_tunnel {
            LookupFailure::NoTunnel
        } else if self.asked.is_empty() {
            LookupFailure::NoFloodfill
        } else {
            LookupFailure::TimedOut
        }
    }
}

impl Path {
    fn add(&mut self, floodfill: Hash) {
        self.waiting.insert(self.target.distance(&floodfill), floodfill);
        if self.waiting.len() > MAX_WAITING {
            self.waiting.pop_last();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixTime;

    const LIMITS: Limits = Limits {
        total: Duration::from_secs(15),
        per_path: MAX_QUERIES_PER_PATH,
        stagger: Duration::from_millis(500),
    };
    const TIMEOUT: Duration = Duration::from_secs(2);

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn key() -> RoutingKey {
        RoutingKey::new(&Hash([5; 32]), UnixTime::from_secs(1_800_000_000))
    }

    /// `n` hashes, nearest to the key first.
    fn floodfills(n: u8) -> Vec<Hash> {
        let mut all: Vec<Hash> = (0..n).map(|i| Hash::of(&[i])).collect();
        all.sort_by_key(|h| key().distance(h));
        all
    }

    fn start(floodfills: Vec<Hash>) -> Start {
        Start { target: key(), floor: 0, floodfills }
    }

    fn two_paths(all: &[Hash]) -> Lookup {
        let pick = |odd: usize| all.iter().skip(odd).step_by(2).copied().collect();
        Lookup::new(at(0), LIMITS, [start(pick(0)), start(pick(1))])
    }

    #[test]
    fn the_nearest_is_asked_first_and_the_second_path_a_little_later() {
        let all = floodfills(8);
        let mut l = two_paths(&all);
        assert_eq!(l.poll_step(at(0), TIMEOUT), Some(Step::Ask(all[0])));
        assert_eq!(l.poll_step(at(0), TIMEOUT), None);
        assert_eq!(l.poll_timeout(at(0)), Some(at(500)));
        assert_eq!(l.poll_step(at(500), TIMEOUT), Some(Step::Ask(all[1])));
        assert_eq!(l.poll_step(at(500), TIMEOUT), None);
        assert_eq!(l.poll_timeout(at(500)), Some(at(2000)));
    }

    #[test]
    fn a_path_moves_on_after_a_negative_answer_and_after_a_timeout() {
        let all = floodfills(8);
        let mut l = two_paths(&all);
        assert_eq!(l.poll_step(at(0), TIMEOUT), Some(Step::Ask(all[0])));
        let answered = l.handle_negative(at(300), &all[0]).unwrap();
        assert_eq!(answered.latency, Some(Duration::from_millis(300)));
        assert_eq!(l.poll_step(at(300), TIMEOUT), Some(Step::Ask(all[2])));
        assert_eq!(l.handle_timeout(at(2299)), []);
        assert_eq!(l.handle_timeout(at(2300)), [all[2]]);
        assert_eq!(l.poll_step(at(2300), TIMEOUT), Some(Step::Ask(all[4])));
        assert!(l.handle_negative(at(2400), &all[2]).is_some(), "a late answer counts");
    }

    #[test]
    fn only_nearer_and_new_routers_are_followed_and_only_on_the_path_of_the_reply() {
        let all = floodfills(8);
        let mut l = two_paths(&all[4..]);
        assert_eq!(l.poll_step(at(0), TIMEOUT), Some(Step::Ask(all[4])));
        assert!(l.would_follow(0, &all[4], &all[0]));
        assert!(!l.would_follow(0, &all[4], &all[6]), "farther");
        assert!(!l.would_follow(0, &all[4], &all[4]), "itself");
        assert!(l.handle_negative(at(100), &all[4]).is_some());
        l.add(0, all[0]);
        l.add(0, all[4]);
        assert_eq!(l.poll_step(at(100), TIMEOUT), Some(Step::Ask(all[0])));
        assert_eq!(l.poll_step(at(500), TIMEOUT), Some(Step::Ask(all[5])), "its own nearest");
    }

    #[test]
    fn a_path_that_keeps_out_of_a_crowd_follows_nobody_into_it() {
        let all = floodfills(8);
        let floor = key().distance(&all[2]).share();
        let start = Start { target: key(), floor, floodfills: all[4..].to_vec() };
        let mut l = Lookup::new(at(0), LIMITS, [start]);
        let _ = l.poll_step(at(0), TIMEOUT);
        assert!(!l.would_follow(0, &all[4], &all[1]));
        assert!(l.would_follow(0, &all[4], &all[2]));
    }

    #[test]
    fn answers_nobody_asked_for_and_repeated_ones_are_ignored() {
        let all = floodfills(4);
        let mut l = two_paths(&all);
        assert!(l.handle_negative(at(0), &all[0]).is_none());
        let _ = l.poll_step(at(0), TIMEOUT);
        assert!(l.handle_negative(at(1), &all[0]).is_some());
        assert!(l.handle_negative(at(2), &all[0]).is_none());
    }

    #[test]
    fn it_ends_when_everybody_said_no_and_at_the_deadline() {
        let all = floodfills(3);
        let mut l = two_paths(&all);
        let mut now = 0;
        let mut asked = Vec::new();
        let end = loop {
            match l.poll_step(at(now), TIMEOUT) {
                Some(Step::Ask(f)) => {
                    asked.push(f);
                    l.handle_negative(at(now), &f);
                }
                Some(Step::Failed(why)) => break why,
                None => now += 100,
            }
        };
        assert_eq!(end, LookupFailure::NotStored);
        asked.sort();
        let mut want = all.clone();
        want.sort();
        assert_eq!(asked, want, "each once");
        assert!(now < 1000, "without waiting for the deadline");

        let mut silent = two_paths(&all);
        let _ = silent.poll_step(at(0), TIMEOUT);
        assert_eq!(
            silent.poll_step(at(15_000), TIMEOUT),
            Some(Step::Failed(LookupFailure::TimedOut))
        );
        let mut nobody = two_paths(&[]);
        assert_eq!(
            nobody.poll_step(at(0), TIMEOUT),
            Some(Step::Failed(LookupFailure::NoFloodfill))
        );
    }

    #[test]
    fn queries_are_limited_on_each_path_however_many_nearer_routers_are_named() {
        let all = floodfills(200);
        let mut l = Lookup::new(at(0), LIMITS, [start(all[150..].to_vec())]);
        let mut queries = 0;
        let mut nearer = all[..150].iter().rev();
        while let Some(Step::Ask(f)) = l.poll_step(at(0), TIMEOUT) {
            queries += 1;
            l.handle_negative(at(0), &f);
            nearer.by_ref().take(16).for_each(|h| l.add(0, *h));
            assert!(l.paths[0].waiting.len() <= MAX_WAITING);
        }
        assert_eq!(queries, MAX_QUERIES_PER_PATH);
    }

    #[test]
    fn a_path_waits_for_router_infos_that_are_being_fetched() {
        let all = floodfills(4);
        let mut l = Lookup::new(at(0), LIMITS, [start(all[3..].to_vec())]);
        assert_eq!(l.poll_step(at(0), TIMEOUT), Some(Step::Ask(all[3])));
        l.handle_negative(at(100), &all[3]);
        l.fetch_started(0);
        assert_eq!(l.poll_step(at(100), TIMEOUT), None);
        l.fetch_ended(0);
        l.add(0, all[0]);
        assert_eq!(l.poll_step(at(200), TIMEOUT), Some(Step::Ask(all[0])));
    }

    #[test]
    fn who_did_not_answer_is_asked_again_when_nobody_else_is_left() {
        let all = floodfills(2);
        let mut l = Lookup::new(at(0), LIMITS, [start(all.clone())]);
        for (now, floodfill) in [(0, all[0]), (2000, all[1]), (4000, all[0]), (6000, all[1])] {
            l.handle_timeout(at(now));
            assert_eq!(l.poll_step(at(now), TIMEOUT), Some(Step::Ask(floodfill)));
            assert_eq!(l.poll_step(at(now), TIMEOUT), None);
        }
        l.handle_timeout(at(8000));
        // Nobody answered: perhaps everything is slow.
        assert_eq!(l.poll_step(at(8000), TIMEOUT), None);
        assert_eq!(l.poll_timeout(at(8000)), Some(at(12_000)));
        let end = Some(Step::Failed(LookupFailure::TimedOut));
        assert_eq!(l.poll_step(at(12_000), TIMEOUT), end);
        let late = l.handle_negative(at(9000), &all[0]).unwrap();
        assert_eq!(late.latency, None, "of which query it is cannot be told");
        assert_eq!(l.poll_step(at(9000), TIMEOUT), Some(Step::Failed(LookupFailure::NotStored)));
    }

    #[test]
    fn an_unsent_query_does_not_hold_up_the_path() {
        let all = floodfills(4);
        let mut l = two_paths(&all);
        assert_eq!(l.poll_step(at(0), TIMEOUT), Some(Step::Ask(all[0])));
        l.handle_unsent(at(0), &all[0], Unsent::Unreachable);
        assert_eq!(l.poll_step(at(0), TIMEOUT), Some(Step::Ask(all[2])));
    }

    #[test]
    fn without_tunnels_a_lookup_waits_and_uses_nobody_up() {
        let all = floodfills(3);
        let mut l = Lookup::new(at(0), LIMITS, [start(all.clone())]);
        for now in (0..10_000).step_by(500) {
            assert_eq!(l.poll_step(at(now), TIMEOUT), Some(Step::Ask(all[0])), "at {now}");
            l.handle_unsent(at(now), &all[0], Unsent::NoTunnel);
            assert_eq!(l.poll_step(at(now), TIMEOUT), None);
            assert_eq!(l.poll_timeout(at(now)), Some(at(now + 500)));
        }
        let failed = Some(Step::Failed(LookupFailure::NoTunnel));
        let mut never = Lookup::new(at(0), LIMITS, [start(all.clone())]);
        let _ = never.poll_step(at(0), TIMEOUT);
        never.handle_unsent(at(0), &all[0], Unsent::NoTunnel);
        assert_eq!(never.poll_step(at(15_000), TIMEOUT), failed);
        // There is a tunnel again: the nearest is asked, as if nothing had been.
        assert_eq!(l.poll_step(at(10_000), TIMEOUT), Some(Step::Ask(all[0])));
        assert!(l.handle_negative(at(10_100), &all[0]).is_some());
        assert_eq!(l.poll_step(at(10_100), TIMEOUT), Some(Step::Ask(all[1])));
        l.handle_timeout(at(12_100));
        assert_eq!(l.poll_step(at(12_100), TIMEOUT), Some(Step::Ask(all[2])));
        l.handle_timeout(at(14_100));
        // A second question to who was silent waits for a tunnel just so.
        assert_eq!(l.poll_step(at(14_100), TIMEOUT), Some(Step::Ask(all[1])));
        l.handle_unsent(at(14_100), &all[1], Unsent::NoTunnel);
        assert_eq!(l.poll_step(at(14_100), TIMEOUT), None);
        assert_eq!(l.poll_step(at(14_600), TIMEOUT), Some(Step::Ask(all[1])));
    }
}
