use super::*;
use crate::netdb::profile::Outcome;
use crate::netdb::testing::{Maker, NET_ID, UNIX, at};
use crate::rng::Seed;
use alloc::vec::Vec;

const HOUR: Duration = Duration::from_secs(3600);

struct Fixture {
    routers: Routers,
    profiles: Profiles,
    rng: Rng,
}

impl Fixture {
    fn new() -> Self {
        Self {
            routers: Routers::new(Hash([0xaa; 32]), NET_ID, Reach::ntcp2(false), at(0)),
            profiles: Profiles::new(),
            rng: Rng::new(&Seed::from_number(1)),
        }
    }

    fn store(
        &mut self,
        now: Instant,
        unix: UnixTime,
        maker: &Maker,
        source: Source,
    ) -> Result<Stored, StoreError> {
        let info = maker.build();
        let stored = self.routers.check(now, unix, &info, source)?;
        if stored != Stored::Known {
            self.routers.insert(now, info, source, &self.profiles, &mut self.rng);
        }
        Ok(stored)
    }

    fn fill(&mut self, numbers: core::ops::Range<u64>, source: Source) {
        // The same RouterInfo bytes would do, but each needs its own hash.
        for n in numbers {
            self.store(at(0), UNIX, &Maker::new(n), source).unwrap();
        }
    }
}

#[test]
fn newer_replaces_older_and_never_the_other_way_round() {
    let mut f = Fixture::new();
    let old = Maker::new(1);
    let new = Maker::new(1).published(UNIX + Duration::from_millis(1)).caps("XfR");
    assert_eq!(f.store(at(0), UNIX, &old, Source::Others), Ok(Stored::New));
    assert_eq!(f.store(at(0), UNIX, &old, Source::Others), Ok(Stored::Known));
    let other = old.clone().caps("L");
    assert_eq!(f.store(at(0), UNIX, &other, Source::Others), Err(StoreError::Older));
    assert_eq!(f.store(at(0), UNIX, &new, Source::Others), Ok(Stored::Newer));
    for source in [Source::Others, Source::Itself, Source::Reseed, Source::Saved] {
        assert_eq!(f.store(at(0), UNIX, &old, source), Err(StoreError::Older));
    }
    assert_eq!(f.routers.get(&old.hash()).unwrap().info, new.build());
    assert_eq!(f.routers.counts(), (0, 1, 1));
    // A floodfill that ceases to be one leaves the index.
    let plain = Maker::new(1).published(UNIX + Duration::from_millis(2));
    f.store(at(0), UNIX, &plain, Source::Others).unwrap();
    assert_eq!(f.routers.counts(), (0, 1, 0));
}

#[test]
fn what_is_wrong_is_refused_with_its_reason() {
    let mut f = Fixture::new();
    let mut refused = |maker: Maker| f.store(at(0), UNIX, &maker, Source::Others).unwrap_err();
    assert_eq!(refused(Maker::new(1).net_id(Some(2))), StoreError::WrongNetwork);
    assert_eq!(refused(Maker::new(1).net_id(None)), StoreError::WrongNetwork);
    let ahead = UNIX + MAX_AHEAD;
    assert_eq!(
        refused(Maker::new(1).published(ahead + Duration::from_millis(1))),
        StoreError::Future
    );
    let old = UNIX - OLDEST_ACCEPTED;
    assert_eq!(
        refused(Maker::new(1).published(old - Duration::from_millis(1))),
        StoreError::TooOld
    );
    assert_eq!(
        f.store(at(0), UNIX, &Maker::new(1).published(ahead), Source::Others),
        Ok(Stored::New)
    );
    assert_eq!(
        f.store(at(0), UNIX, &Maker::new(2).published(old), Source::Others),
        Ok(Stored::New)
    );
    let own = Maker::new(3);
    f.routers.local = own.hash();
    assert_eq!(f.store(at(0), UNIX, &own, Source::Reseed), Err(StoreError::Own));
}

#[test]
fn old_files_are_fine_in_test_networks_only() {
    let ancient = Maker::new(1).published(UNIX - OLDEST_ACCEPTED * 2);
    let mut f = Fixture::new();
    assert_eq!(f.store(at(0), UNIX, &ancient, Source::Reseed), Err(StoreError::TooOld));
    f.routers.reach.allow_local = true;
    assert_eq!(f.store(at(0), UNIX, &ancient, Source::Others), Err(StoreError::TooOld));
    assert_eq!(f.store(at(0), UNIX, &ancient, Source::Reseed), Ok(Stored::New));
}

#[test]
fn the_expiry_matrix() {
    // Known routers, uptime in hours, then the age in minutes that is still kept.
    for (known, uptime, kept) in [
        (10, 5, None),
        (90, 5, None),
        (91, 0, None),
        (91, 1, Some(1603)),
        (180, 1, Some(855)),
        (900, 24, Some(243)),
        (6000, 24, Some(112)),
    ] {
        let mut routers = Routers::new(Hash([0xaa; 32]), NET_ID, Reach::ntcp2(false), at(0));
        let record = Maker::new(1).build();
        for n in 0..known {
            let traits = Traits::of(&record, Reach::ntcp2(false));
            let hash = Hash::of(&u32::to_be_bytes(n));
            routers.verified.insert(hash, Record { info: record.clone(), traits, saved: None });
        }
        let now = at(0) + HOUR * uptime;
        let minutes = routers.max_age(now).map(|d| d.as_secs() / 60);
        assert_eq!(minutes, kept, "{known} routers after {uptime} h");
    }
}

#[test]
fn sweeps_forget_the_expired_and_leave_the_rest() {
    let mut f = Fixture::new();
    f.fill(0..700, Source::Others);
    let later = UNIX + HOUR * 24;
    let now = at(0) + HOUR * 24;
    for n in 700..1000 {
        f.store(now, later, &Maker::new(n).published(later), Source::Others).unwrap();
    }
    f.routers.sweep(now, later);
    assert!(f.routers.len() >= 1000 - SWEEP, "a sweep is bounded");
    for _ in 0..8 {
        f.routers.sweep(now, later);
    }
    assert_eq!(f.routers.len(), 300);
    assert!(f.routers.iter().all(|(r, _)| r.info.published() == later));
    // What is left of an all-expired network is never less than a small network.
    let much_later = later + HOUR * 48;
    for _ in 0..8 {
        f.routers.sweep(now, much_later);
    }
    assert_eq!(f.routers.len(), SMALL_NETWORK);
}

#[test]
fn invented_routers_push_out_only_each_other() {
    let mut f = Fixture::new();
    f.fill(0..50, Source::Reseed);
    f.fill(50..60, Source::Others);
    let met = Maker::new(55).hash();
    f.routers.promote(at(0), &met, &f.profiles, &mut f.rng);
    f.fill(100..100 + MAX_UNVERIFIED as u64 + 300, Source::Others);
    assert_eq!(f.routers.counts().1, MAX_UNVERIFIED);
    assert_eq!(f.routers.counts().0, 51);
    for n in (0..50).chain([55]) {
        assert!(f.routers.verified.contains(&Maker::new(n).hash()));
    }
}

#[test]
fn a_full_verified_tier_gives_up_old_and_useless_ones_first() {
    let mut f = Fixture::new();
    let old = UNIX - HOUR * 20;
    let info = Maker::new(1).build();
    let old_info = Maker::new(1).published(old).build();
    let name = |n: usize| Hash::of(&n.to_be_bytes());
    for n in 0..MAX_VERIFIED {
        // Every second one is old; the first thousand of all have proven useful.
        let info = if n % 2 == 0 { old_info.clone() } else { info.clone() };
        let traits = Traits::of(&info, Reach::ntcp2(false));
        f.routers.verified.insert(name(n), Record { info, traits, saved: None });
        if n < 1000 {
            f.profiles.record(at(0), UNIX, name(n), Outcome::Connected, &mut f.rng);
        }
    }
    for n in 10_000..10_500u64 {
        f.store(at(0), UNIX, &Maker::new(n), Source::Itself).unwrap();
        assert!(f.routers.verified.len() <= MAX_VERIFIED);
    }
    let left: Vec<usize> =
        (0..MAX_VERIFIED).filter(|n| f.routers.verified.contains(&name(*n))).collect();
    assert_eq!((0..1000).filter(|n| left.contains(n)).count(), 1000, "useful ones stay");
    let fresh_lost = (1000..MAX_VERIFIED).filter(|n| n % 2 == 1 && !left.contains(n)).count();
    assert!(fresh_lost <= 5, "{fresh_lost} fresh ones lost");
}

#[test]
fn saved_copies_follow_what_is_known() {
    let mut f = Fixture::new();
    f.store(at(0), UNIX, &Maker::new(1), Source::Saved).unwrap();
    f.store(at(0), UNIX, &Maker::new(2), Source::Itself).unwrap();
    f.store(at(0), UNIX, &Maker::new(3), Source::Others).unwrap();
    let saved = f.routers.next_unsaved().unwrap();
    assert_eq!(saved.hash(), Maker::new(2).hash(), "neither what came from there nor hearsay");
    assert!(f.routers.next_unsaved().is_none());
    // A slightly newer version is not worth a write, a much newer one is.
    let soon = UNIX + Duration::from_secs(60);
    let late = UNIX + HOUR;
    f.store(at(0), soon, &Maker::new(2).published(soon), Source::Itself).unwrap();
    assert!(f.routers.next_unsaved().is_none());
    f.store(at(0), late, &Maker::new(2).published(late), Source::Itself).unwrap();
    assert_eq!(f.routers.next_unsaved().unwrap().published(), late);
    for n in 1..4 {
        f.routers.remove(&Maker::new(n).hash());
    }
    let mut gone: Vec<Hash> = core::iter::from_fn(|| f.routers.next_forgotten()).collect();
    let mut want = [Maker::new(1).hash(), Maker::new(2).hash()];
    gone.sort();
    want.sort();
    assert_eq!(gone, want);
}

#[test]
fn a_crowd_around_a_key_is_noticed_and_an_ordinary_neighbourhood_is_not() {
    let mut rng = Rng::new(&Seed::from_number(7));
    let mut routers = Routers::new(Hash([0xaa; 32]), NET_ID, Reach::ntcp2(false), at(0));
    routers.floodfills = (0..800).map(|_| Hash(rng.bytes())).collect();
    let target = |n: u32| RoutingKey::new(&Hash::of(&n.to_be_bytes()), UNIX);
    let alarms = (0..2000).filter(|n| routers.crowd(&target(*n)).is_some()).count();
    assert!(alarms <= 8, "{alarms} false alarms in 2,000");
    let share = u64::MAX / 800;
    let mut placed = 0;
    while placed < 8 {
        let hash = Hash(rng.bytes());
        if target(1).distance(&hash).share() < share {
            routers.floodfills.insert(hash);
            placed += 1;
        }
    }
    let end = routers.crowd(&target(1)).unwrap();
    let near: Vec<u64> =
        routers.floodfills_near(&target(1)).map(|h| target(1).distance(&h).share()).collect();
    let behind = near.iter().filter(|s| **s < end).count();
    assert!((8..=14).contains(&behind), "{behind} are taken for the crowd");
    routers.floodfills = (0..39).map(|_| Hash(rng.bytes())).collect();
    assert!((0..2000).all(|n| routers.crowd(&target(n)).is_none()), "too few to tell");
}

#[test]
fn buckets_limit_rate_and_burst() {
    let mut bucket = Bucket::new(at(0), 10, 5);
    assert_eq!((0..20).filter(|_| bucket.take(at(0))).count(), 5);
    assert_eq!((0..20).filter(|_| bucket.take(at(99))).count(), 0);
    assert_eq!((0..20).filter(|_| bucket.take(at(300))).count(), 3);
    assert_eq!((0..20).filter(|_| bucket.take(at(60_000))).count(), 5);
}
