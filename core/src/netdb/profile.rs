//! What we measured about each router, and what that says about using it as a hop.
//!
//! Nothing here is taken from what a router says of itself. Counts fade with a half-life of an
//! hour, so that a router is judged by its recent past, and what is stored over a restart has
//! faded by the time that passed.

use super::sampled::Sampled;
use crate::audit::Audit;
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};
use crate::wire::codec::{DecodeError, Put, Reader};
use crate::wire::hash::Hash;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

/// Routers that we keep a profile of.
pub const MAX_PROFILES: usize = 8_000;
/// Profiles that are compared when one must go.
const EVICTION_SAMPLE: usize = 16;
/// One event in a tally.
const ONE: u32 = 256;
/// A tally holds no more than this many recent events.
const MAX_TALLY: u32 = 4096 * ONE;
/// Tallies fade in steps of this length, by [`FADE`] / 256 each: half in 16 steps, an hour.
const FADE_STEP: Duration = Duration::from_secs(225);
/// 2^(-1/16), in 256ths.
const FADE: u32 = 245;
/// A router that declined to join a tunnel is the last choice for this long.
const REJECT_COOLING: Duration = Duration::from_secs(180);
/// A router that could not be reached is the last choice for this long, doubled with each failure
/// in a row.
const CONNECT_COOLING: Duration = Duration::from_secs(60);
/// The doubling ends here: 60 s x 2^5 = 32 minutes.
const MAX_DOUBLINGS: u8 = 5;
/// This many failed connects in a row, and we treat the router as gone until it proves otherwise.
const GONE_AFTER: u8 = 4;
/// The weight of a router without any fault.
pub const FULL_WEIGHT: u32 = 1000;
/// Profiles looked at in one sweep.
const SWEEP: usize = 256;
/// A profile whose counts have faded away is forgotten when its router was of no use for so long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3 * 86_400);
/// First byte of a stored profile.
const VERSION: u8 = 1;
/// Bytes of a stored profile.
const ENCODED_LEN: usize = 1 + 8 + 8 * 4 + 2 * 4 + 4 + 1 + 8;

/// What a router did, or failed to do, for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// A session with it came to be.
    Connected,
    /// No session could be established.
    ConnectFailed,
    /// It accepted a place in a tunnel of ours; the time from request to reply.
    BuildAccepted {
        /// Of the whole build, all hops.
        latency: Duration,
    },
    /// It declined.
    BuildRejected,
    /// A build that it was asked to take part in was never answered.
    BuildTimedOut {
        /// How many hops share the blame.
        hops: u8,
    },
    /// A tunnel that it is part of carried a test.
    TestPassed {
        /// There and back.
        latency: Duration,
    },
    /// A tunnel that it is part of lost a test.
    TestFailed {
        /// How many hops share the blame.
        hops: u8,
    },
    /// As a floodfill it answered a query or confirmed a store.
    Answered,
    /// As a floodfill it did not answer in time.
    Unanswered,
    /// As a floodfill it answered with forged or outdated data, or lost what it confirmed.
    Misserved,
}

/// Recent successes and failures of one kind, in 256ths of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    good: u32,
    bad: u32,
}

/// What we measured about one router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Up to when the tallies have faded.
    faded: Instant,
    connects: Tally,
    builds: Tally,
    tests: Tally,
    answers: Tally,
    /// Smoothed, in milliseconds; 0 when never measured.
    build_latency: u32,
    test_latency: u32,
    /// The last choice until then.
    cooling: Option<Instant>,
    /// Failed connects in a row.
    unreachable: u8,
    /// When it last did something for us; zero when never.
    last_good: UnixTime,
}

/// How a router compares as a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// 1 to [`FULL_WEIGHT`]; for a draw in proportion.
    pub weight: u32,
    /// It recently declined or could not be reached: use it only when others are too few.
    pub cooling: bool,
    /// It ever did something for us, within what the profile remembers.
    pub proven: bool,
}

impl Tally {
    fn add_good(&mut self) {
        self.good = (self.good + ONE).min(MAX_TALLY);
    }

    fn add_bad(&mut self, sharers: u8) {
        let share = ONE / u32::from(sharers.max(1));
        self.bad = (self.bad + share.max(1)).min(MAX_TALLY);
    }

    /// Per mille of successes, starting from `prior` successes and one failure.
    fn per_mille(self, prior: u32) -> u32 {
        let good = u64::from(self.good) + u64::from(prior * ONE);
        let all = good + u64::from(self.bad) + u64::from(ONE);
        u32::try_from(good * 1000 / all.max(1)).unwrap_or(1000)
    }

    fn fade(&mut self) {
        self.good = self.good * FADE / 256;
        self.bad = self.bad * FADE / 256;
    }
}

impl Profile {
    /// Of a router that we know nothing about.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        let none = Tally { good: 0, bad: 0 };
        Self {
            faded: now,
            connects: none,
            builds: none,
            tests: none,
            answers: none,
            build_latency: 0,
            test_latency: 0,
            cooling: None,
            unreachable: 0,
            last_good: UnixTime::from_millis(0),
        }
    }

    /// Takes note of what happened.
    pub fn record(&mut self, now: Instant, unix: UnixTime, outcome: Outcome) {
        self.fade(now);
        match outcome {
            Outcome::Connected => {
                self.connects.add_good();
                self.unreachable = 0;
                self.cooling = None;
                self.last_good = unix;
            }
            Outcome::ConnectFailed => {
                self.connects.add_bad(1);
                let doublings = self.unreachable.min(MAX_DOUBLINGS);
                self.unreachable = self.unreachable.saturating_add(1);
                self.cool(now + CONNECT_COOLING * (1 << doublings));
            }
            Outcome::BuildAccepted { latency } => {
                self.builds.add_good();
                smooth(&mut self.build_latency, latency);
                self.unreachable = 0;
                self.last_good = unix;
            }
            Outcome::BuildRejected => {
                self.builds.add_bad(1);
                self.unreachable = 0;
                self.cool(now + REJECT_COOLING);
            }
            Outcome::BuildTimedOut { hops } => self.builds.add_bad(hops),
            Outcome::TestPassed { latency } => {
                self.tests.add_good();
                smooth(&mut self.test_latency, latency);
                self.last_good = unix;
            }
            Outcome::TestFailed { hops } => self.tests.add_bad(hops),
            Outcome::Answered => {
                self.answers.add_good();
                self.last_good = unix;
            }
            Outcome::Unanswered => self.answers.add_bad(2),
            Outcome::Misserved => self.answers.add_bad(1),
        }
    }

    /// How it compares as a hop.
    #[must_use]
    pub fn standing(&self, now: Instant) -> Standing {
        let mut faded = self.clone();
        faded.fade(now);
        // Unknown routers weigh about half of the proven ones, so that new ones get their chance.
        let builds = u64::from(faded.builds.per_mille(1));
        let tests = u64::from(faded.tests.per_mille(8));
        let connects = u64::from(faded.connects.per_mille(4));
        // A failed test costs users more than a failed build: squared.
        let mut weight = builds * tests / 1000 * tests / 1000 * connects / 1000;
        weight = weight * 4000 / (4000 + u64::from(faded.test_latency));
        Standing {
            weight: u32::try_from(weight).unwrap_or(FULL_WEIGHT).clamp(1, FULL_WEIGHT),
            cooling: self.cooling.is_some_and(|until| until > now),
            proven: self.last_good > UnixTime::from_millis(0),
        }
    }

    /// Could not be reached several times in a row, and the last time was not long ago.
    #[must_use]
    pub fn gone(&self, now: Instant) -> bool {
        self.unreachable >= GONE_AFTER && self.cooling.is_some_and(|until| until > now)
    }

    /// Per mille of queries and stores that it served well; 800 when never asked.
    #[must_use]
    pub fn answers(&self, now: Instant) -> u32 {
        let mut faded = self.clone();
        faded.fade(now);
        faded.answers.per_mille(4)
    }

    /// When it last did something for us; `None` when never.
    #[must_use]
    pub fn last_good(&self) -> Option<UnixTime> {
        Some(self.last_good).filter(|t| *t > UnixTime::from_millis(0))
    }

    /// Appends the stored form: version 1, fixed length.
    pub fn encode(&self, now: Instant, unix: UnixTime, out: &mut Vec<u8>) {
        let mut faded = self.clone();
        faded.fade(now);
        let cooling = self.cooling.map_or(Duration::ZERO, |until| until.saturating_since(now));
        out.put_u8(VERSION);
        // Tallies fade in whole steps: the time is that of the last one.
        out.put_u64((unix - now.saturating_since(faded.faded)).as_millis());
        for tally in [faded.connects, faded.builds, faded.tests, faded.answers] {
            out.put_u32(tally.good);
            out.put_u32(tally.bad);
        }
        out.put_u32(faded.build_latency);
        out.put_u32(faded.test_latency);
        out.put_u32(u32::try_from(cooling.as_millis()).unwrap_or(u32::MAX));
        out.put_u8(faded.unreachable);
        out.put_u64(faded.last_good.as_millis());
    }

    /// The stored form, faded by the time that has passed since it was written.
    pub fn decode(bytes: &[u8], now: Instant, unix: UnixTime) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(DecodeError::Invalid("profile version"));
        }
        let stored = UnixTime::from_millis(r.u64()?);
        let mut tallies = [Tally::default(); 4];
        for tally in &mut tallies {
            *tally = Tally { good: r.u32()?, bad: r.u32()? };
            if tally.good > MAX_TALLY || tally.bad > MAX_TALLY {
                return Err(DecodeError::Invalid("profile tally"));
            }
        }
        let [connects, builds, tests, answers] = tallies;
        let (build_latency, test_latency) = (r.u32()?, r.u32()?);
        let cooling = Duration::from_millis(r.u32()?.into());
        let unreachable = r.u8()?;
        let last_good = UnixTime::from_millis(r.u64()?);
        r.finish()?;
        let away = unix.saturating_since(stored);
        let mut profile = Self {
            faded: now,
            connects,
            builds,
            tests,
            answers,
            build_latency,
            test_latency,
            cooling: None,
            unreachable,
            last_good,
        };
        profile.fade_steps(away.as_secs() / FADE_STEP.as_secs());
        if cooling > away {
            profile.cooling =
                Some(now + (cooling - away).min(CONNECT_COOLING * (1 << MAX_DOUBLINGS)));
        }
        Ok(profile)
    }

    /// Nothing is left of what was counted.
    fn is_blank(&self) -> bool {
        let none = Tally::default();
        [self.connects, self.builds, self.tests, self.answers] == [none; 4]
            && self.cooling.is_none_or(|until| until <= self.faded)
    }

    /// The later of the present and the new end of cooling.
    fn cool(&mut self, until: Instant) {
        self.cooling = self.cooling.max(Some(until));
    }

    fn fade(&mut self, now: Instant) {
        let steps = now.saturating_since(self.faded).as_secs() / FADE_STEP.as_secs();
        if steps > 0 {
            self.faded = self.faded + Duration::from_secs(steps * FADE_STEP.as_secs());
            self.fade_steps(steps);
        }
    }

    fn fade_steps(&mut self, steps: u64) {
        // After 512 steps, 32 half-lives, every tally is zero.
        for _ in 0..steps.min(512) {
            for tally in [&mut self.connects, &mut self.builds, &mut self.tests, &mut self.answers]
            {
                tally.fade();
            }
        }
    }
}

/// A quarter of the way towards the new sample.
fn smooth(average: &mut u32, sample: Duration) {
    let sample = u32::try_from(sample.as_millis()).unwrap_or(u32::MAX).clamp(1, 600_000);
    *average = if *average == 0 { sample } else { (*average / 4) * 3 + sample / 4 };
}

/// The profiles of all routers that we had to do with.
pub(crate) struct Profiles {
    known: Sampled<Profile>,
    /// Changed since they were last handed out for storing.
    changed: BTreeSet<Hash>,
    sweep: Option<Hash>,
}

impl Profiles {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self { known: Sampled::new(), changed: BTreeSet::new(), sweep: None }
    }

    /// What is held, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        audit.see("netdb: profiles", self.known.len(), MAX_PROFILES);
        audit.see("netdb: profiles to write", self.changed.len(), MAX_PROFILES);
    }

    /// The profile of `router`.
    pub(crate) fn get(&self, router: &Hash) -> Option<&Profile> {
        self.known.get(router)
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Takes note of what `router` did. Returns the router whose profile had to go, if any.
    pub(crate) fn record(
        &mut self,
        now: Instant,
        unix: UnixTime,
        router: Hash,
        outcome: Outcome,
        rng: &mut Rng,
    ) -> Option<Hash> {
        let mut evicted = None;
        if !self.known.contains(&router) {
            evicted = self.make_room(rng);
            self.known.insert(router, Profile::new(now));
        }
        if let Some(profile) = self.known.get_mut(&router) {
            profile.record(now, unix, outcome);
        }
        self.changed.insert(router);
        evicted
    }

    /// Adds one from the store, unless there is no room.
    pub(crate) fn restore(&mut self, router: Hash, profile: Profile) {
        if self.known.len() < MAX_PROFILES && !self.known.contains(&router) {
            self.known.insert(router, profile);
        }
    }

    /// Fades some profiles, a few hundred at a time in turn, so that reading one costs little, and
    /// forgets those that say nothing any more. Returns the forgotten.
    pub(crate) fn sweep(&mut self, now: Instant, unix: UnixTime) -> Vec<Hash> {
        let batch: Vec<Hash> =
            self.known.after(self.sweep).take(SWEEP).map(|(router, _)| *router).collect();
        self.sweep = batch.last().copied().filter(|_| batch.len() == SWEEP);
        let mut forgotten = Vec::new();
        for router in batch {
            let Some(profile) = self.known.get_mut(&router) else { continue };
            profile.fade(now);
            if profile.is_blank() && unix.saturating_since(profile.last_good) > FORGOTTEN_AFTER {
                self.known.remove(&router);
                self.changed.remove(&router);
                forgotten.push(router);
            }
        }
        forgotten
    }

    /// The next profile to be stored, each handed out once after a change.
    pub(crate) fn next_changed(&mut self, now: Instant, unix: UnixTime) -> Option<(Hash, Vec<u8>)> {
        while let Some(router) = self.changed.pop_first() {
            if let Some(profile) = self.known.get(&router) {
                let mut out = Vec::with_capacity(ENCODED_LEN);
                profile.encode(now, unix, &mut out);
                return Some((router, out));
            }
        }
        None
    }

    /// When full: of a few drawn at random, the one that was useless for longest goes.
    fn make_room(&mut self, rng: &mut Rng) -> Option<Hash> {
        if self.known.len() < MAX_PROFILES {
            return None;
        }
        let victim = (0..EVICTION_SAMPLE)
            .filter_map(|_| self.known.draw(rng))
            .filter_map(|h| self.known.get(&h).map(|p| (p.last_good, p.faded, h)))
            .min()
            .map(|(_, _, h)| h)?;
        self.known.remove(&victim);
        self.changed.remove(&victim);
        Some(victim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    const UNIX: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    fn profile(outcomes: &[(Outcome, u32)]) -> Profile {
        let mut p = Profile::new(at(0));
        for (outcome, times) in outcomes {
            for _ in 0..*times {
                p.record(at(0), UNIX, *outcome);
            }
        }
        p
    }

    const ACCEPTED: Outcome = Outcome::BuildAccepted { latency: Duration::from_millis(300) };
    const PASSED: Outcome = Outcome::TestPassed { latency: Duration::from_millis(200) };

    #[test]
    fn proven_routers_outweigh_unknown_ones_and_those_outweigh_bad_ones() {
        let unknown = Profile::new(at(0)).standing(at(0));
        let good = profile(&[(ACCEPTED, 10), (PASSED, 20)]).standing(at(0));
        let rejecting = profile(&[(ACCEPTED, 1), (Outcome::BuildRejected, 9)]).standing(at(0));
        let lossy = profile(&[(ACCEPTED, 10), (PASSED, 20), (Outcome::TestFailed { hops: 1 }, 20)])
            .standing(at(0));
        assert!(good.weight > unknown.weight * 3 / 2, "{good:?} {unknown:?}");
        assert!(unknown.weight > rejecting.weight * 2, "{unknown:?} {rejecting:?}");
        assert!(good.weight > lossy.weight * 2, "{good:?} {lossy:?}");
        assert!(good.proven && !unknown.proven);
        assert!(rejecting.cooling && !good.cooling);
    }

    #[test]
    fn shared_blame_weighs_less() {
        let alone = profile(&[(Outcome::TestFailed { hops: 1 }, 6)]).standing(at(0));
        let shared = profile(&[(Outcome::TestFailed { hops: 6 }, 6)]).standing(at(0));
        assert!(shared.weight > alone.weight);
    }

    #[test]
    fn failures_fade_with_a_half_life_of_an_hour() {
        let p = profile(&[(Outcome::TestFailed { hops: 1 }, 16)]);
        let mut later = p.clone();
        later.fade(at(3600));
        let half = later.tests.bad * 100 / p.tests.bad;
        assert!((45..=55).contains(&half), "{half}");
        assert!(p.standing(at(7200)).weight > p.standing(at(0)).weight);
        let mut gone = p;
        gone.fade(at(3600 * 40));
        assert_eq!(gone.tests, Tally::default());
    }

    #[test]
    fn frequent_records_fade_as_fast_as_rare_ones() {
        let mut often = profile(&[(PASSED, 100)]);
        let mut once = often.clone();
        for s in 0..=3600 {
            often.fade(at(s));
        }
        once.fade(at(3600));
        assert_eq!(often.tests, once.tests);
    }

    #[test]
    fn an_unreachable_router_cools_for_longer_each_time_until_it_answers() {
        let mut p = Profile::new(at(0));
        let mut ends = Vec::new();
        for _ in 0..8 {
            p.record(at(0), UNIX, Outcome::ConnectFailed);
            ends.push(p.cooling.unwrap().as_micros() / 1_000_000);
        }
        assert_eq!(ends, [60, 120, 240, 480, 960, 1920, 1920, 1920]);
        assert!(p.gone(at(0)) && !p.gone(at(1920)));
        p.record(at(10), UNIX, Outcome::Connected);
        assert!(!p.gone(at(10)) && !p.standing(at(10)).cooling);
    }

    #[test]
    fn floodfills_are_judged_by_their_answers() {
        let liar = profile(&[(Outcome::Answered, 2), (Outcome::Misserved, 6)]);
        assert!(liar.answers(at(0)) < Profile::new(at(0)).answers(at(0)));
        assert_eq!(Profile::new(at(0)).answers(at(0)), 800);
        // A floodfill that serves badly is no worse as a hop.
        assert_eq!(
            profile(&[(Outcome::Misserved, 6)]).standing(at(0)).weight,
            Profile::new(at(0)).standing(at(0)).weight
        );
    }

    #[test]
    fn the_stored_form_round_trips_and_fades_while_we_are_away() {
        let p = profile(&[
            (Outcome::Connected, 3),
            (ACCEPTED, 5),
            (Outcome::BuildRejected, 1),
            (PASSED, 7),
            (Outcome::Misserved, 2),
            (Outcome::ConnectFailed, 2),
        ]);
        let mut bytes = Vec::new();
        p.encode(at(0), UNIX, &mut bytes);
        assert_eq!(bytes.len(), ENCODED_LEN);
        assert_eq!(Profile::decode(&bytes, at(0), UNIX).unwrap(), p);
        // A new run, whose monotonic clock starts again, ten minutes later.
        let later = Profile::decode(&bytes, at(5), UNIX + Duration::from_secs(600)).unwrap();
        assert!(later.tests.good < p.tests.good && later.tests.good > p.tests.good / 2);
        assert!(!later.standing(at(5)).cooling);
        assert_eq!(later.last_good(), Some(UNIX));
        // A clock that went backwards neither fades nor panics.
        let earlier = Profile::decode(&bytes, at(5), UNIX - Duration::from_secs(600)).unwrap();
        assert_eq!(earlier.tests, p.tests);
    }

    #[test]
    fn every_cut_trailing_byte_and_absurd_value_is_refused() {
        let mut bytes = Vec::new();
        profile(&[(PASSED, 7)]).encode(at(0), UNIX, &mut bytes);
        for cut in 0..bytes.len() {
            assert!(Profile::decode(&bytes[..cut], at(0), UNIX).is_err(), "cut at {cut}");
        }
        let mut long = bytes.clone();
        long.push(0);
        assert_eq!(Profile::decode(&long, at(0), UNIX), Err(DecodeError::Trailing));
        let mut version = bytes.clone();
        version[0] = 2;
        assert!(Profile::decode(&version, at(0), UNIX).is_err());
        for (place, bad) in [(9, 0xff), (13, 0xff)] {
            let mut absurd = bytes.clone();
            absurd[place] = bad;
            assert!(Profile::decode(&absurd, at(0), UNIX).is_err());
        }
        let all_ones = [1].into_iter().chain([0xff; ENCODED_LEN - 1]).collect::<Vec<_>>();
        assert!(Profile::decode(&all_ones, at(0), UNIX).is_err());
    }

    #[test]
    fn the_map_is_bounded_and_keeps_the_useful() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut profiles = Profiles::new();
        let name = |i: u32| Hash::of(&i.to_be_bytes());
        let useful = name(0);
        profiles.record(at(0), UNIX, useful, Outcome::Connected, &mut rng);
        for i in 1..(MAX_PROFILES as u32 + 500) {
            profiles.record(at(0), UNIX, name(i), Outcome::Unanswered, &mut rng);
            assert!(profiles.len() <= MAX_PROFILES);
        }
        assert_eq!(profiles.len(), MAX_PROFILES);
        assert!(profiles.get(&useful).is_some());
    }

    #[test]
    fn profiles_that_say_nothing_any_more_are_forgotten() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut profiles = Profiles::new();
        for i in 0..600u32 {
            let outcome = if i % 2 == 0 { Outcome::Connected } else { Outcome::ConnectFailed };
            profiles.record(at(0), UNIX, Hash::of(&i.to_be_bytes()), outcome, &mut rng);
        }
        let mut sweep = |days: u64| {
            let away = Duration::from_secs(days * 86_400);
            (0..4).map(|_| profiles.sweep(at(0) + away, UNIX + away).len()).sum::<usize>()
        };
        assert_eq!(sweep(0), 0);
        assert_eq!(sweep(2), 300, "never of use");
        assert_eq!(sweep(4), 300);
        assert_eq!(profiles.len(), 0);
    }

    #[test]
    fn changes_are_handed_out_once() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut profiles = Profiles::new();
        profiles.record(at(0), UNIX, Hash([1; 32]), Outcome::Connected, &mut rng);
        profiles.record(at(0), UNIX, Hash([1; 32]), Outcome::Connected, &mut rng);
        let (router, bytes) = profiles.next_changed(at(0), UNIX).unwrap();
        assert_eq!(router, Hash([1; 32]));
        assert!(profiles.next_changed(at(0), UNIX).is_none());
        let mut again = Profiles::new();
        again.restore(router, Profile::decode(&bytes, at(0), UNIX).unwrap());
        assert_eq!(again.get(&router), profiles.get(&router));
    }
}
