use super::*;
use crate::netdb::testing::{UNIX, at, lease_set};
use crate::rng::Seed;

const TIMEOUT: Duration = Duration::from_secs(3);
const A: Hash = Hash([1; 32]);
const B: Hash = Hash([2; 32]);
const C: Hash = Hash([3; 32]);

fn publication(unix: UnixTime) -> Publication {
    let entry = StoreEntry::LeaseSet(lease_set(1, unix));
    Publication::new(at(0), unix, entry, Rules::LEASE_SET, false)
}

fn rng() -> Rng {
    Rng::new(&Seed::from_number(1))
}

fn store(place: Place, exclude: &[Hash]) -> Option<Step> {
    Some(Step::Store { place, exclude: exclude.to_vec() })
}

fn verify(exclude: &[Hash]) -> Option<Step> {
    Some(Step::Verify { exclude: exclude.to_vec() })
}

/// Up to the question whether it is there, stored at A.
fn confirmed() -> (Publication, u64) {
    let mut p = publication(UNIX);
    assert_eq!(p.poll_step(at(0)), store(Place::Today, &[]));
    p.sent(at(0), Place::Today, A, 7, TIMEOUT);
    let latency = Duration::from_millis(400);
    let want = Confirmed { floodfill: A, latency };
    assert_eq!(p.handle_confirmed(at(400), 7, &mut rng()), Some(want));
    let due = p.poll_timeout().unwrap().as_micros() / 1000;
    assert!((8_400..=12_400).contains(&due), "{due}");
    assert_eq!(p.poll_step(at(due - 1)), None);
    assert_eq!(p.poll_step(at(due)), verify(&[A]));
    (p, due)
}

#[test]
fn a_store_is_confirmed_verified_and_checked_again_later() {
    let (mut p, due) = confirmed();
    assert!(p.is_confirmed() && !p.is_verified());
    assert_eq!(p.poll_timeout(), None, "the lookup has its own time");
    p.verified(at(due + 500), Verdict::There);
    assert!(p.is_verified());
    assert_eq!(p.poll_timeout(), Some(at(due + 120_500)));
    assert_eq!(p.poll_step(at(due + 120_500)), verify(&[A]));
}

#[test]
fn without_a_confirmation_the_next_floodfill_gets_it_and_late_ones_count() {
    let mut p = publication(UNIX);
    p.sent(at(0), Place::Today, A, 7, TIMEOUT);
    assert_eq!(p.handle_timeout(at(2999)), []);
    assert_eq!(p.handle_timeout(at(3000)), [A]);
    assert_eq!(p.poll_step(at(3000)), store(Place::Today, &[A]));
    p.sent(at(3000), Place::Today, B, 8, TIMEOUT);
    assert_eq!(p.handle_confirmed(at(3100), 9, &mut rng()), None);
    assert_eq!(p.handle_confirmed(at(3100), 7, &mut rng()).unwrap().floodfill, A);
    assert!(p.is_confirmed());
    assert_eq!(p.handle_confirmed(at(3100), 7, &mut rng()), None, "once");
    assert!(p.handle_confirmed(at(3200), 8, &mut rng()).is_some());
}

#[test]
fn what_is_missing_is_stored_again_elsewhere() {
    let (mut p, due) = confirmed();
    p.verified(at(due), Verdict::Missing);
    assert_eq!(p.poll_step(at(due)), store(Place::Today, &[A]));
    p.sent(at(due), Place::Today, B, 8, TIMEOUT);
    p.handle_confirmed(at(due), 8, &mut rng()).unwrap();
    let again = p.poll_timeout().unwrap();
    assert_eq!(p.poll_step(again), verify(&[A, B]), "nor who lost it");
    p.verified(again, Verdict::Missing);
    assert_eq!(p.poll_step(again), store(Place::Today, &[A, B]));
}

#[test]
fn silence_is_asked_about_once_more_before_storing_again() {
    let (mut p, due) = confirmed();
    p.verified(at(due), Verdict::Silent);
    assert_eq!(p.poll_timeout(), Some(at(due + 10_000)));
    assert_eq!(p.poll_step(at(due + 10_000)), verify(&[A]));
    p.verified(at(due + 10_000), Verdict::Silent);
    assert_eq!(p.poll_step(at(due + 10_000)), store(Place::Today, &[A]));
}

#[test]
fn a_round_of_failures_ends_in_a_growing_pause() {
    let mut p = publication(UNIX);
    let mut now = 0;
    let mut pauses = Vec::new();
    for round in 0..7u32 {
        for n in 0..7 {
            let Some(Step::Store { exclude, .. }) = p.poll_step(at(now)) else { panic!() };
            assert_eq!(exclude.len(), n);
            p.sent(at(now), Place::Today, Hash([n as u8; 32]), round * 10 + n as u32 + 1, TIMEOUT);
            assert!(p.tokens().count() <= MAX_TOKENS);
            now += 3000;
            p.handle_timeout(at(now));
        }
        let next = p.poll_timeout().unwrap().as_micros() / 1000;
        pauses.push((next - now) / 1000);
        now = next;
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 160, 160]);
    // Nobody known at all: look again soon.
    let mut p = publication(UNIX);
    p.no_floodfill(at(0), Place::Today);
    assert_eq!(p.poll_timeout(), Some(at(5000)));
}

#[test]
fn an_unsent_store_moves_on_at_once() {
    let mut p = publication(UNIX);
    p.sent(at(0), Place::Today, A, 7, TIMEOUT);
    p.handle_unsent(at(10), 7, Unsent::Unreachable);
    assert_eq!(p.poll_step(at(10)), store(Place::Today, &[A]));
    p.handle_unsent(at(10), 7, Unsent::Unreachable);
    assert_eq!(p.handle_confirmed(at(11), 7, &mut rng()), None);
}

#[test]
fn without_tunnels_a_store_waits_for_one_and_uses_nobody_up() {
    let mut p = publication(UNIX);
    for round in 0..30 {
        let now = at(round * 1000);
        assert_eq!(p.poll_step(now), store(Place::Today, &[]), "round {round}");
        p.sent(now, Place::Today, A, round as u32, TIMEOUT);
        p.handle_unsent(now, round as u32, Unsent::NoTunnel);
        assert_eq!(p.poll_step(now), None);
        assert_eq!(p.poll_timeout(), Some(now + Duration::from_secs(1)));
    }
}

#[test]
fn a_tunnel_ends_the_wait_for_one_and_no_other_wait() {
    let mut p = publication(UNIX);
    p.sent(at(0), Place::Today, A, 1, TIMEOUT);
    p.handle_unsent(at(0), 1, Unsent::NoTunnel);
    p.handle_tunnels(at(20));
    assert_eq!(p.poll_step(at(20)), store(Place::Today, &[]));
    p.no_floodfill(at(20), Place::Today);
    let due = p.poll_timeout();
    p.handle_tunnels(at(40));
    assert_eq!((p.poll_step(at(40)), p.poll_timeout()), (None, due));
}

#[test]
fn versions_keep_their_distance_unless_the_last_one_never_arrived() {
    let newer = || StoreEntry::LeaseSet(lease_set(1, UNIX + Duration::from_secs(5)));
    let mut p = publication(UNIX);
    p.sent(at(0), Place::Today, A, 7, TIMEOUT);
    p.replace(at(5000), UNIX, newer(), false);
    assert_eq!(p.poll_step(at(5000)), store(Place::Today, &[]));
    assert_eq!(p.handle_confirmed(at(5001), 7, &mut rng()), None, "of the old version");

    let mut p = publication(UNIX);
    p.sent(at(0), Place::Today, A, 7, TIMEOUT);
    p.handle_confirmed(at(300), 7, &mut rng()).unwrap();
    p.replace(at(5000), UNIX, newer(), false);
    assert!(!p.is_confirmed());
    assert_eq!(p.poll_timeout(), Some(at(20_000)));
    assert_eq!(p.poll_step(at(20_000)), store(Place::Today, &[]));
    p.sent(at(20_000), Place::Today, A, 8, TIMEOUT);
    p.handle_confirmed(at(20_100), 8, &mut rng()).unwrap();
    p.replace(at(90_000), UNIX, newer(), false);
    assert_eq!(p.poll_step(at(90_000)), store(Place::Today, &[]));
}

#[test]
fn a_crowd_around_the_key_adds_a_store_beyond_it() {
    let entry = StoreEntry::LeaseSet(lease_set(1, UNIX));
    let mut p = Publication::new(at(0), UNIX, entry, Rules::LEASE_SET, true);
    assert_eq!(p.poll_step(at(0)), store(Place::Today, &[]));
    p.sent(at(0), Place::Today, A, 7, TIMEOUT);
    assert_eq!(p.poll_step(at(0)), store(Place::Beyond, &[]));
    p.sent(at(0), Place::Beyond, B, 8, TIMEOUT);
    assert_eq!(p.poll_step(at(0)), None);
    assert_eq!(p.handle_confirmed(at(1), 8, &mut rng()).unwrap().floodfill, B);
    assert_eq!(p.poll_step(at(1)), store(Place::Beyond, &[B]), "two of them");
    p.sent(at(1), Place::Beyond, C, 9, TIMEOUT);
    assert!(p.handle_confirmed(at(2), 9, &mut rng()).is_some());
    assert_eq!(p.poll_step(at(2)), None);
    assert!(!p.is_confirmed(), "the nearest ones count");
}

fn before_midnight(secs: u64) -> UnixTime {
    let midnight = UNIX + until_midnight(UNIX);
    midnight - Duration::from_secs(secs)
}

#[test]
fn what_is_published_near_midnight_also_goes_to_the_next_day() {
    let mut p = publication(before_midnight(599));
    p.sent(at(0), Place::Today, A, 7, TIMEOUT);
    p.handle_confirmed(at(100), 7, &mut rng()).unwrap();
    assert_eq!(p.poll_step(at(1999)), None);
    assert_eq!(p.poll_step(at(2000)), store(Place::Tomorrow, &[]));
    assert!(publication(before_midnight(601)).legs.len() == 1);
}

#[test]
fn what_was_published_before_is_handed_to_the_next_day_in_time() {
    let mut p = publication(before_midnight(1000));
    p.sent(at(0), Place::Today, A, 7, TIMEOUT);
    p.handle_confirmed(at(0), 7, &mut rng()).unwrap();
    p.handle_day(at(0), before_midnight(601), &mut rng());
    assert_eq!(p.legs.len(), 1);
    p.handle_day(at(400_000), before_midnight(600), &mut rng());
    p.handle_day(at(430_000), before_midnight(570), &mut rng());
    assert_eq!(p.legs.len(), 2, "once");
    let State::Due { at: due } = p.legs[1].state else { panic!() };
    assert!(due <= at(700_000));
    p.sent(due, Place::Tomorrow, B, 8, TIMEOUT);
    p.handle_confirmed(due, 8, &mut rng()).unwrap();
    // At midnight the next day's floodfill is the one that has it.
    p.handle_day(at(1_001_000), before_midnight(0), &mut rng());
    assert!(p.is_confirmed());
    let due = p.poll_timeout().unwrap();
    assert_eq!(p.poll_step(due), verify(&[B]));
}

#[test]
fn what_was_not_handed_over_is_stored_again_after_midnight() {
    let mut p = publication(before_midnight(1000));
    p.sent(at(0), Place::Today, A, 7, TIMEOUT);
    p.handle_confirmed(at(0), 7, &mut rng()).unwrap();
    p.handle_day(at(1_010_000), before_midnight(0) + Duration::from_secs(10), &mut rng());
    assert!(!p.is_confirmed());
    let due = p.poll_timeout().unwrap();
    assert!(due <= at(1_030_000));
    assert_eq!(p.poll_step(due), store(Place::Today, &[]));
}
