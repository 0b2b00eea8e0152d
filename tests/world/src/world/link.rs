//! What a way through the network does to datagrams: it has no heap and no clock, and says when what arrives.

use super::chance::one_of;
use super::weather::{Bursts, Weather};
use ramson_core::rng::Rng;
use ramson_core::time::Instant;
use std::net::SocketAddr;
use std::time::Duration;

/// What Ethernet carries, in bytes with IP and UDP headers.
const ETHERNET: u16 = 1500;
/// What a line that is too slow keeps; beyond that, what comes is dropped.
const LONGEST_QUEUE: Duration = Duration::from_millis(500);
/// A duplicate comes so much later at most, in microseconds.
const ECHO: u64 = 20_000;

/// Why a datagram does not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// On the way.
    Loss,
    /// The checksum found wrong bits.
    Damage,
    /// It is larger than what the way carries.
    TooLarge,
}

/// When a datagram arrives, and when it does so again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) at: Instant,
    pub(super) again: Option<Instant>,
}

/// One way between two places.
pub(super) struct Link {
    /// What it takes at least.
    distance: Duration,
    bursts: Bursts,
    /// When the last one arrives of those that keep their order.
    last: Instant,
}

impl Link {
    pub(super) fn new(distance: Duration) -> Self {
        Self { distance, bursts: Bursts::default(), last: Instant::ZERO }
    }

    pub(super) const fn distance(&self) -> Duration {
        self.distance
    }

    /// A datagram leaves at `at`; `flutter` is what the way takes besides its distance. Flips bits of it.
    pub(super) fn carry(
        &mut self,
        rng: &mut Rng,
        weather: &Weather,
        (at, flutter): (Instant, Duration),
        headers: usize,
        payload: &mut [u8],
    ) -> Result<Arrival, Lost> {
        if payload.len() + headers > usize::from(weather.mtu.unwrap_or(ETHERNET)) {
            return Err(Lost::TooLarge);
        }
        let lost = if weather.burst > 1.0 {
            self.bursts.loses(rng, weather)
        } else {
            one_of(rng, weather.loss)
        };
        if lost {
            return Err(Lost::Loss);
        }
        if one_of(rng, weather.damage) {
            return Err(Lost::Damage);
        }
        if !payload.is_empty() && one_of(rng, weather.corrupt) {
            let place = rng.below(payload.len() as u64) as usize;
            payload[place] ^= 1 << rng.below(8);
        }
        let mut at = self.last.max(at + self.distance + weather.delay + flutter);
        if one_of(rng, weather.late) {
            // What follows does not wait for it.
            at = at + Duration::from_micros(rng.below(weather.late_by.as_micros() as u64 + 1));
        } else {
            self.last = at;
        }
        let twice = one_of(rng, weather.duplicate);
        let again = twice.then(|| at + Duration::from_micros(rng.below(ECHO + 1)));
        Ok(Arrival { at, again })
    }
}

/// When the last bit has left through a line of so many bytes a second, which is busy until `free`; `None`
/// when too much waits for it already.
pub(super) fn queue(
    free: &mut Instant,
    now: Instant,
    rate: Option<u64>,
    bytes: usize,
) -> Option<Instant> {
    let Some(rate) = rate else { return Some(now) };
    let start = (*free).max(now);
    if start.saturating_since(now) > LONGEST_QUEUE {
        return None;
    }
    *free = start + Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / rate.max(1));
    Some(*free)
}

/// Bytes of the headers of IP and UDP.
pub(super) const fn headers(to: SocketAddr) -> usize {
    if to.is_ipv4() { 20 + 8 } else { 40 + 8 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ramson_core::rng::Seed;

    const DISTANCE: Duration = Duration::from_millis(30);
    const MANY: u64 = 40_000;

    fn rng() -> Rng {
        Rng::new(&Seed::from_number(1))
    }

    fn millis(n: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(n)
    }

    /// What becomes of many datagrams of 100 bytes, one each millisecond, and how they look then.
    fn all(weather: Weather) -> Vec<(Result<Arrival, Lost>, Vec<u8>)> {
        let (mut link, mut rng) = (Link::new(DISTANCE), rng());
        let mut one = |n| {
            let mut bytes = vec![0; 100];
            let when = (millis(n), Duration::ZERO);
            (link.carry(&mut rng, &weather, when, 28, &mut bytes), bytes)
        };
        (0..MANY).map(&mut one).collect()
    }

    fn share(of: usize) -> f64 {
        of as f64 / MANY as f64
    }

    /// The share that is lost, and of that the share whose successor is lost too.
    fn losses(weather: Weather) -> (f64, f64) {
        let lost: Vec<bool> = all(weather).iter().map(|(fate, _)| fate.is_err()).collect();
        let (some, pairs) = (
            lost.iter().filter(|lost| **lost).count(),
            lost.windows(2).filter(|pair| pair[0] && pair[1]).count(),
        );
        (share(some), pairs as f64 / some as f64)
    }

    fn is_near(a: f64, b: f64) -> bool {
        (a - b).abs() < 0.02
    }

    #[test]
    fn in_fair_weather_all_arrive_in_time_and_whole() {
        for (n, (fate, bytes)) in all(Weather::FAIR).into_iter().enumerate() {
            let at = millis(n as u64) + DISTANCE;
            assert_eq!((fate, bytes), (Ok(Arrival { at, again: None }), vec![0; 100]));
        }
        let delay = Duration::from_millis(7);
        for (n, (fate, _)) in all(Weather { delay, ..Weather::FAIR }).into_iter().enumerate() {
            assert_eq!(fate.unwrap().at, millis(n as u64) + DISTANCE + delay);
        }
    }

    #[test]
    fn losses_are_independent_or_come_in_bursts() {
        let weather = Weather { loss: 0.2, ..Weather::FAIR };
        let (lost, next) = losses(weather);
        assert!(is_near(lost, 0.2) && is_near(next, 0.2), "{lost} {next}");
        let (lost, next) = losses(Weather { burst: 5.0, ..weather });
        assert!(is_near(lost, 0.2) && is_near(next, 0.8), "{lost} {next}");
    }

    #[test]
    fn bursts_of_one_way_are_not_those_of_another() {
        let weather = Weather { loss: 0.3, burst: 1000.0, ..Weather::FAIR };
        let (mut one, mut other, mut rng) = (Link::new(DISTANCE), Link::new(DISTANCE), rng());
        let mut lost = |link: &mut Link| {
            link.carry(&mut rng, &weather, Default::default(), 28, &mut []).is_err()
        };
        let differ = (0..MANY).filter(|_| lost(&mut one) != lost(&mut other)).count();
        assert!(share(differ) > 0.2, "{differ}");
    }

    #[test]
    fn without_flutter_nothing_is_overtaken() {
        let (mut link, mut rng) = (Link::new(DISTANCE), rng());
        let mut at = |n, flutter| {
            let when = (millis(n), Duration::from_millis(flutter));
            link.carry(&mut rng, &Weather::FAIR, when, 28, &mut []).unwrap().at
        };
        let (first, second) = (at(0, 3), at(1, 0));
        assert_eq!(first, millis(33));
        assert_eq!(second, first, "it waits in the same queue");
    }

    #[test]
    fn some_are_overtaken() {
        let late_by = Duration::from_millis(50);
        let fates = all(Weather { late: 0.25, late_by, ..Weather::FAIR });
        let late = |(n, (fate, _)): (usize, &(Result<Arrival, Lost>, _))| {
            fate.unwrap().at.saturating_since(millis(n as u64) + DISTANCE)
        };
        let late: Vec<Duration> = fates.iter().enumerate().map(late).collect();
        let some = late.iter().filter(|late| !late.is_zero());
        assert!(is_near(share(some.clone().count()), 0.25));
        assert!(late.iter().all(|late| *late <= late_by));
        let mean = some.clone().sum::<Duration>() / some.count() as u32;
        assert!(is_near(mean.as_secs_f64() / late_by.as_secs_f64(), 0.5), "{mean:?}");
    }

    #[test]
    fn some_come_twice() {
        let fates = all(Weather { duplicate: 0.25, ..Weather::FAIR });
        let twice = fates.iter().filter(|(fate, _)| {
            let Arrival { at, again } = fate.unwrap();
            again.is_some_and(|again| {
                assert!(again >= at && again <= at + Duration::from_micros(ECHO));
                true
            })
        });
        assert!(is_near(share(twice.count()), 0.25));
    }

    #[test]
    fn what_a_checksum_finds_is_gone_and_the_rest_has_one_wrong_bit() {
        let fates = all(Weather { damage: 0.2, corrupt: 0.1, ..Weather::FAIR });
        let found = fates.iter().filter(|(fate, _)| *fate == Err(Lost::Damage)).count();
        assert!(is_near(share(found), 0.2));
        let wrong = |bytes: &[u8]| bytes.iter().map(|byte| byte.count_ones()).sum::<u32>();
        let arrived = || fates.iter().filter(|(fate, _)| fate.is_ok());
        assert!(arrived().all(|(_, bytes)| wrong(bytes) <= 1));
        let bad = arrived().filter(|(_, bytes)| wrong(bytes) == 1).count();
        assert!(is_near(share(bad), 0.8 * 0.1));
    }

    #[test]
    fn what_is_too_large_vanishes() {
        let fate = |mtu, headers, len: usize| {
            let weather = Weather { mtu, ..Weather::FAIR };
            let mut link = Link::new(DISTANCE);
            link.carry(&mut rng(), &weather, Default::default(), headers, &mut vec![0; len]).err()
        };
        assert_eq!(fate(None, 28, 1472), None);
        assert_eq!(fate(None, 28, 1473), Some(Lost::TooLarge));
        assert_eq!(fate(None, 48, 1452), None);
        assert_eq!(fate(None, 48, 1453), Some(Lost::TooLarge));
        assert_eq!(fate(Some(1300), 28, 1272), None);
        assert_eq!(fate(Some(1300), 28, 1273), Some(Lost::TooLarge));
    }

    #[test]
    fn a_slow_line_keeps_some_and_drops_the_rest() {
        let mut free = Instant::ZERO;
        assert_eq!(queue(&mut free, millis(5), None, 1000), Some(millis(5)));
        let mut left = Vec::new();
        // 100 ms each.
        while let Some(at) = queue(&mut free, millis(1000), Some(10_000), 1000) {
            left.push(at);
        }
        assert_eq!(left, [1100, 1200, 1300, 1400, 1500, 1600].map(millis));
        assert!(queue(&mut free, millis(1099), Some(10_000), 1000).is_none());
        assert_eq!(queue(&mut free, millis(1100), Some(10_000), 1000), Some(millis(1700)));
    }

    #[test]
    fn two_weathers_are_both() {
        let one = Weather { damage: 0.5, duplicate: 0.1, mtu: Some(1400), ..Weather::FAIR };
        let other = Weather { damage: 0.5, mtu: Some(1300), rate: Some(7), ..Weather::FAIR };
        let both = one.and(other);
        assert_eq!((both.damage, both.duplicate), (0.75, 0.1));
        assert_eq!((both.mtu, both.rate), (Some(1300), Some(7)));
        assert_eq!(both, other.and(one));
    }
}
