//! Taking part in the tunnels of others: admission, limits, expiry.

use super::fragment::Budget;
use super::participant::{End, Participant};
use crate::audit::Audit;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::hash::Hash;
use crate::wire::tunnel::{ACCEPT, CELL_LEN, REJECT, Request};
use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

/// How long a transit tunnel is kept: ten minutes from the creator's request, and one for clocks
/// and for cells on their way, as i2pd does.
pub(crate) const LIFETIME: Duration = Duration::from_secs(660);
/// Requests that wait for their Diffie-Hellman; more are dropped.
pub const MAX_JOBS: usize = 200;
/// The window of [`TransitLimits::requests_per_hop`].
const WINDOW: Duration = Duration::from_secs(110);
/// Previous hops whose requests are counted; when full, those of unknown ones are dropped.
const MAX_COUNTED_HOPS: usize = 4096;
/// Requests a window whose previous hop is unknown, because they came garlic-wrapped through
/// somebody's outbound tunnel: as many as 40 previous hops may send.
const WRAPPED_FACTOR: u32 = 40;
/// From this share of the limit on, in per cent, some requests are refused at random, so that
/// creators spread before the limit is hard: those of previous hops that have more tunnels here than the
/// mean. Who floods us fills the table with tunnels of his own, and leaves room for others.
const SOFT_LIMIT_PERCENT: u64 = 80;
/// From here on all of theirs are.
const FAIR_LIMIT_PERCENT: u64 = 90;
/// Tidying looks at every tunnel, so it is done this rarely.
const TIDY_EVERY: Duration = Duration::from_secs(30);
/// What relayed bytes may burst, in seconds of the rate.
const BURST_SECS: u64 = 2;
/// Bytes that may burst at the least: the cells of the largest message.
const MIN_BURST: u64 = 64 * CELL_LEN as u64;

/// What we are willing to carry for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransitLimits {
    /// Tunnels; at most 50,000 is sensible.
    pub tunnels: u32,
    /// Bytes of cells a second; `None`: no limit here.
    pub bytes_per_second: Option<u64>,
    /// Build requests from one previous hop in 110 s, counted before any expensive step.
    pub requests_per_hop: u32,
    /// False: every request is refused, existing tunnels go on.
    pub accept: bool,
}

impl Default for TransitLimits {
    fn default() -> Self {
        Self { tunnels: 5000, bytes_per_second: None, requests_per_hop: 25, accept: true }
    }
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransitStats {
    /// Tunnels right now.
    pub tunnels: usize,
    /// Requests that we accepted.
    pub accepted: u64,
    /// Requests that we refused with a reply.
    pub rejected: u64,
    /// Requests dropped unanswered: throttled, late, or not valid.
    pub dropped: u64,
    /// Cells relayed, taken in as gateway or delivered as endpoint.
    pub cells: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Cells dropped: repeated, over the rate, for the wrong kind of tunnel.
    pub dropped_cells: u64,
}

/// The tunnels of others.
pub(crate) struct Transit {
    pub(crate) limits: TransitLimits,
    pub(crate) stats: TransitStats,
    pub(crate) jobs: usize,
    tunnels: BTreeMap<u32, Participant>,
    /// In order of time, since all live equally long; with the previous hop that asked.
    expiry: VecDeque<(Instant, u32, Option<Hash>)>,
    /// How many tunnels each previous hop asked for. As many entries as tunnels, at most.
    held: BTreeMap<Option<Hash>, u64>,
    requests: BTreeMap<Option<Hash>, Window>,
    tidy_at: Instant,
    tokens: u64,
    refilled: Option<Instant>,
}

struct Window {
    since: Instant,
    count: u32,
}

impl Transit {
    pub(crate) fn new(limits: TransitLimits) -> Self {
        Self {
            limits,
            stats: TransitStats::default(),
            jobs: 0,
            tunnels: BTreeMap::new(),
            expiry: VecDeque::new(),
            held: BTreeMap::new(),
            requests: BTreeMap::new(),
            tidy_at: Instant::ZERO,
            tokens: 0,
            refilled: None,
        }
    }

    /// What is held, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        let most = self.limits.tunnels as usize;
        audit.see("transit: tunnels", self.tunnels.len(), most);
        audit.see("transit: ends of tunnels", self.expiry.len(), most);
        audit.see("transit: counted hops", self.requests.len(), MAX_COUNTED_HOPS);
        audit.see("transit: hops that hold tunnels", self.held.len(), most);
        audit.see("transit: jobs", self.jobs, MAX_JOBS);
        for tunnel in self.tunnels.values() {
            if let End::Endpoint(endpoint) = &tunnel.end {
                endpoint.audit(audit);
            }
        }
    }

    /// Counts a request; false when its sender sent too many. `from` is `None` for requests that
    /// came inside garlic.
    pub(crate) fn admit_request(&mut self, now: Instant, from: Option<Hash>) -> bool {
        if self.jobs >= MAX_JOBS {
            return false;
        }
        if self.requests.len() >= MAX_COUNTED_HOPS && !self.requests.contains_key(&from) {
            self.requests.retain(|_, w| now.saturating_since(w.since) < WINDOW);
            if self.requests.len() >= MAX_COUNTED_HOPS {
                return false;
            }
        }
        let per_hop = self.limits.requests_per_hop;
        let max = if from.is_some() { per_hop } else { per_hop.saturating_mul(WRAPPED_FACTOR) };
        let window = self.requests.entry(from).or_insert(Window { since: now, count: 0 });
        if now.saturating_since(window.since) >= WINDOW {
            *window = Window { since: now, count: 0 };
        }
        window.count = window.count.saturating_add(1);
        window.count <= max
    }

    /// The code for a request of the previous hop `from`; `taken` when one of our own tunnels has its
    /// id.
    pub(crate) fn decide(
        &mut self,
        now: Instant,
        from: Option<Hash>,
        request: &Request,
        taken: bool,
        rng: &mut Rng,
    ) -> u8 {
        let full = self.is_crowded(from, rng)
            || self.limits.bytes_per_second.is_some_and(|rate| {
                self.refill(now, rate);
                self.tokens < rate.saturating_mul(BURST_SECS) / 10
            });
        let known = taken || self.tunnels.contains_key(&request.receive_tunnel);
        if self.limits.accept && !full && !known && request.layer == 0 { ACCEPT } else { REJECT }
    }

    /// Whether there are too many tunnels for one more of this previous hop.
    fn is_crowded(&self, from: Option<Hash>, rng: &mut Rng) -> bool {
        let max = u64::from(self.limits.tunnels);
        let count = self.tunnels.len() as u64;
        if !self.has_more_than_most(from, count) {
            return count >= max;
        }
        let (soft, fair) = (max * SOFT_LIMIT_PERCENT / 100, max * FAIR_LIMIT_PERCENT / 100);
        count >= fair || (count > soft && rng.below(fair - soft) < count - soft)
    }

    /// More than the mean. Requests that came wrapped are those of many.
    fn has_more_than_most(&self, from: Option<Hash>, count: u64) -> bool {
        let factor = if from.is_some() { 1 } else { u64::from(WRAPPED_FACTOR) };
        let held = self.held.get(&from).copied().unwrap_or_default();
        held * self.held.len() as u64 > count * factor
    }

    /// Adds a tunnel that was accepted, and that `from` asked for.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        from: Option<Hash>,
        id: u32,
        participant: Participant,
    ) {
        self.tunnels.insert(id, participant);
        self.expiry.push_back((now + LIFETIME, id, from));
        *self.held.entry(from).or_default() += 1;
        self.stats.accepted += 1;
        self.stats.tunnels = self.tunnels.len();
    }

    /// A tunnel by the id under which we receive.
    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut Participant> {
        self.tunnels.get_mut(&id)
    }

    /// The same, to look at.
    pub(crate) fn get(&self, id: u32) -> Option<&Participant> {
        self.tunnels.get(&id)
    }

    /// True when the id is in use.
    pub(crate) fn contains(&self, id: u32) -> bool {
        self.tunnels.contains_key(&id)
    }

    /// Charges cells; false when the rate is used up.
    pub(crate) fn charge(&mut self, now: Instant, cells: usize) -> bool {
        let bytes = (cells * CELL_LEN) as u64;
        if let Some(rate) = self.limits.bytes_per_second {
            self.refill(now, rate);
            match self.tokens.checked_sub(bytes) {
                Some(left) => self.tokens = left,
                None => {
                    self.stats.dropped_cells += cells as u64;
                    return false;
                }
            }
        }
        self.stats.cells += cells as u64;
        self.stats.bytes += bytes;
        true
    }

    fn refill(&mut self, now: Instant, rate: u64) {
        // One large message must fit into the burst of a slow router too.
        let burst = rate.saturating_mul(BURST_SECS).max(MIN_BURST);
        let since = *self.refilled.get_or_insert_with(|| {
            self.tokens = burst;
            now
        });
        let elapsed = now.saturating_since(since).as_micros() as u64;
        let earned = rate.saturating_mul(elapsed) / 1_000_000;
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(burst);
            // Only the time that was paid for, so that rounding loses nothing.
            let paid = earned.saturating_mul(1_000_000) / rate.max(1);
            self.refilled = Some(since + Duration::from_micros(paid));
        }
    }

    /// Drops what is over.
    pub(crate) fn handle_timeout(&mut self, now: Instant, budget: &mut Budget) {
        while let Some((at, id, from)) = self.expiry.front().copied().filter(|(at, ..)| *at <= now)
        {
            self.expiry.pop_front();
            self.release(from);
            if let Some(mut tunnel) = self.tunnels.remove(&id) {
                tunnel.clear(budget);
            }
            log::trace!("transit tunnel {id} expired at {at:?}");
        }
        if now >= self.tidy_at {
            self.tidy_at = now + TIDY_EVERY;
            for tunnel in self.tunnels.values_mut() {
                tunnel.tidy(now, budget);
            }
            self.requests.retain(|_, w| now.saturating_since(w.since) < WINDOW);
        }
        self.stats.tunnels = self.tunnels.len();
    }

    /// A tunnel of this previous hop is over.
    fn release(&mut self, from: Option<Hash>) {
        if let Some(held) = self.held.get_mut(&from) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.held.remove(&from);
            }
        }
    }

    /// When something ends or wants tidying.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let next = self.expiry.front().map(|(at, ..)| *at)?;
        Some(next.min(self.tidy_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Key32;
    use crate::rng::Seed;
    use crate::tunnel::layer::LayerKeys;
    use crate::wire::tunnel::Role;

    fn at(s: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(s)
    }

    fn request(id: u32) -> Request {
        Request {
            receive_tunnel: id,
            next_tunnel: 1,
            next: Hash([1; 32]),
            role: Role::Participant,
            layer: 0,
            minutes: 0,
            lifetime: 600,
            next_message: 1,
        }
    }

    const PEER: Option<Hash> = Some(Hash([9; 32]));

    fn participant() -> Participant {
        let keys = LayerKeys { layer: Key32::new([1; 32]), iv: Key32::new([2; 32]) };
        Participant::new(at(0), Hash([1; 32]), 1, Role::Endpoint, keys)
    }

    #[test]
    fn requests_are_counted_per_previous_hop_and_window() {
        let mut transit = Transit::new(TransitLimits::default());
        let (a, b) = (Some(Hash([1; 32])), Some(Hash([2; 32])));
        for _ in 0..25 {
            assert!(transit.admit_request(at(0), a));
        }
        assert!(!transit.admit_request(at(109), a) && transit.admit_request(at(109), b));
        assert!(transit.admit_request(at(110), a));
        assert_eq!((0..2000).filter(|_| transit.admit_request(at(1), None)).count(), 1000);
    }

    #[test]
    fn the_table_of_previous_hops_is_bounded_and_recovers() {
        let mut transit = Transit::new(TransitLimits::default());
        let hop = |n: u32| Some(Hash::of(&n.to_be_bytes()));
        let admitted = (0..5000).filter(|n| transit.admit_request(at(0), hop(*n))).count();
        assert_eq!(admitted, MAX_COUNTED_HOPS);
        assert!(transit.admit_request(at(1), hop(0)), "known ones still count");
        assert!(transit.admit_request(at(111), hop(4999)));
    }

    #[test]
    fn full_closed_duplicate_and_unknown_layers_are_rejected() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let limits = TransitLimits { tunnels: 20, ..TransitLimits::default() };
        let mut transit = Transit::new(limits);
        assert_eq!(transit.decide(at(0), PEER, &request(1), false, &mut rng), ACCEPT);
        assert_eq!(transit.decide(at(0), PEER, &request(1), true, &mut rng), REJECT);
        assert_eq!(
            transit.decide(at(0), PEER, &Request { layer: 1, ..request(1) }, false, &mut rng),
            REJECT
        );
        for id in 0..20 {
            assert_eq!(transit.decide(at(0), PEER, &request(id), false, &mut rng), ACCEPT);
            transit.insert(at(0), PEER, id, participant());
            assert_eq!(transit.decide(at(0), PEER, &request(id), false, &mut rng), REJECT);
        }
        assert_eq!(transit.decide(at(0), PEER, &request(99), false, &mut rng), REJECT);
        let mut budget = Budget::default();
        transit.handle_timeout(at(659), &mut budget);
        assert_eq!(transit.stats.tunnels, 20);
        assert_eq!(transit.poll_timeout(), Some(at(660)));
        transit.handle_timeout(at(660), &mut budget);
        assert_eq!(transit.decide(at(0), PEER, &request(99), false, &mut rng), ACCEPT);
        transit.limits.accept = false;
        assert_eq!(transit.decide(at(0), PEER, &request(99), false, &mut rng), REJECT);
        assert_eq!(transit.poll_timeout(), None);
    }

    #[test]
    fn who_has_more_than_others_is_refused_first() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let limits = TransitLimits { tunnels: 20, ..TransitLimits::default() };
        let mut transit = Transit::new(limits);
        let other = Some(Hash([8; 32]));
        let mut accepted = |transit: &mut Transit, from| {
            let code =
                |_: &u32| transit.decide(at(0), from, &request(99), false, &mut rng) == ACCEPT;
            (0..1000).filter(code).count()
        };
        transit.insert(at(0), other, 100, participant());
        for (held, some) in [(15, 1000..=1000), (16, 300..=700), (17, 0..=0)] {
            while transit.tunnels.len() < held + 1 {
                let id = transit.tunnels.len() as u32;
                transit.insert(at(0), PEER, id, participant());
            }
            let n = accepted(&mut transit, PEER);
            assert!(some.contains(&n), "with {held} and one of another: {n}");
            assert_eq!(accepted(&mut transit, other), 1000);
            assert_eq!(accepted(&mut transit, None), 1000, "nobody that is known");
        }
        for id in 50..52 {
            transit.insert(at(0), other, id, participant());
        }
        assert_eq!(accepted(&mut transit, other), 0, "full is full");
    }

    /// Fifty previous hops ask for all that is admitted, for half an hour; sixty others for a tunnel a
    /// minute each.
    #[test]
    fn a_flood_of_requests_leaves_room_for_others() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut transit = Transit::new(TransitLimits::default());
        let mut budget = Budget::default();
        let hop = |n: u64| Some(Hash::of(&n.to_be_bytes()));
        let (mut id, mut most) = (0, 0);
        let (mut honest, mut refused, mut flooded) = (0, 0, 0);
        for second in 0..1800 {
            transit.handle_timeout(at(second), &mut budget);
            let attackers = (0..500).map(|n| n % 50);
            for n in attackers.chain([100 + second % 60]) {
                if !transit.admit_request(at(second), hop(n)) {
                    continue;
                }
                id += 1;
                let code = transit.decide(at(second), hop(n), &request(id), false, &mut rng);
                if code == ACCEPT {
                    transit.insert(at(second), hop(n), id, participant());
                }
                match (n < 100, code) {
                    (true, code) => flooded += u64::from(code != ACCEPT),
                    (false, ACCEPT) => honest += 1,
                    (false, _) => refused += 1,
                }
            }
            most = most.max(transit.tunnels.len());
        }
        assert!(most <= 5000 && flooded > 1000, "{most} tunnels, {flooded} of the flood refused");
        assert!(honest == 1800 && refused == 0, "{honest} accepted, {refused} refused");
        transit.handle_timeout(at(1800 + 661), &mut budget);
        assert!(transit.held.is_empty() && transit.expiry.is_empty());
    }

    #[test]
    fn requests_are_refused_while_the_rate_is_used_up_and_no_longer() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let limits =
            TransitLimits { bytes_per_second: Some(1_000_000), ..TransitLimits::default() };
        let mut transit = Transit::new(limits);
        assert_eq!(transit.decide(at(1), PEER, &request(1), false, &mut rng), ACCEPT);
        while transit.charge(at(1), 63) {}
        assert_eq!(transit.decide(at(1), PEER, &request(1), false, &mut rng), REJECT);
        assert_eq!(transit.decide(at(2), PEER, &request(1), false, &mut rng), ACCEPT);
    }

    #[test]
    fn the_rate_holds_over_time() {
        let limits = TransitLimits { bytes_per_second: Some(102_800), ..TransitLimits::default() };
        let mut transit = Transit::new(limits);
        let mut passed = 0;
        for ms in 0..10_000 {
            let now = at(1) + Duration::from_millis(ms);
            passed += usize::from(transit.charge(now, 1));
        }
        // 100 cells a second for ten seconds, and the burst of two.
        assert!((1195..=1205).contains(&passed), "{passed}");
        assert_eq!(transit.stats.dropped_cells, 10_000 - passed as u64);
    }
}
