//! The store of RouterInfos against a plain map, and a disk that does as it is told.

use super::*;
use crate::netdb::testing::{Maker, NET_ID, UNIX, at};
use crate::rng::Seed;
use crate::wire::router_info::Reach;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

const HOUR: Duration = Duration::from_secs(3600);
/// A few more than a small network has.
const ROUTERS: u64 = 120;

/// Each router in several versions: as others see it, as a floodfill, of another network; old and new.
fn versions(n: u64) -> Vec<RouterInfo> {
    let hours = |h: u32| UNIX + HOUR * h;
    [
        Maker::new(n),
        Maker::new(n).caps("LU"),
        Maker::floodfill(n).published(hours(2)),
        Maker::new(n).published(hours(2) + Duration::from_secs(90)),
        Maker::new(n).published(hours(30)),
        Maker::floodfill(n).published(hours(90)),
        Maker::new(n).net_id(Some(NET_ID + 1)).published(hours(95)),
    ]
    .iter()
    .map(Maker::build)
    .collect()
}

#[derive(Default)]
struct Model {
    /// What is known, and whether it is verified.
    known: BTreeMap<Hash, (RouterInfo, bool)>,
    disk: BTreeMap<Hash, UnixTime>,
}

impl Model {
    /// How old an entry may be, so long after the start.
    fn max_age(&self, passed: Duration) -> Option<Duration> {
        let known = self.known.len() as u64;
        let range = MAX_AGE.as_secs() - MIN_MAX_AGE.as_secs();
        (known > 90 && passed >= HOUR)
            .then(|| MIN_MAX_AGE + Duration::from_secs(range * 90 / known))
    }

    fn judge(
        &self,
        passed: Duration,
        unix: UnixTime,
        info: &RouterInfo,
        source: Source,
    ) -> Result<Stored, StoreError> {
        let oldest = match source {
            Source::Saved | Source::Reseed => None,
            Source::Itself | Source::Others => self.max_age(passed),
        };
        let old = unix.saturating_since(info.published());
        if info.net_id() != Some(NET_ID) {
            return Err(StoreError::WrongNetwork);
        }
        if info.published() > unix + Duration::from_secs(120) {
            return Err(StoreError::Future);
        }
        if old > oldest.unwrap_or(Duration::from_secs(30 * 86_400)) {
            return Err(StoreError::TooOld);
        }
        match self.known.get(&info.hash()) {
            None => Ok(Stored::New),
            Some((known, _)) if known == info => Ok(Stored::Known),
            Some((known, _)) if known.published() < info.published() => Ok(Stored::Newer),
            Some((known, _)) if known.published() > unix + MAX_AHEAD => Ok(Stored::Newer),
            Some(_) => Err(StoreError::Older),
        }
    }

    fn store(&mut self, info: RouterInfo, source: Source) {
        if source == Source::Saved {
            self.disk.insert(info.hash(), info.published());
        }
        let entry = self.known.entry(info.hash()).or_insert((info.clone(), false));
        *entry = (info, entry.1 || source != Source::Others);
    }

    fn sweep(&mut self, passed: Duration, unix: UnixTime) {
        let Some(max_age) = self.max_age(passed) else { return };
        let old = |info: &RouterInfo| unix.saturating_since(info.published()) > max_age;
        let expired: Vec<Hash> =
            self.known.iter().filter(|(_, (info, _))| old(info)).map(|(hash, _)| *hash).collect();
        for hash in expired {
            if self.known.len() > 90 {
                self.known.remove(&hash);
            }
        }
    }

    /// Does what the store asks for, and finds the disk to be what it should be.
    fn write(&mut self, routers: &mut Routers, seed: u64) {
        while let Some(info) = routers.next_unsaved() {
            let known = self.known.get(&info.hash());
            assert!(known == Some(&(info.clone(), true)), "seed {seed}: hearsay is saved");
            self.disk.insert(info.hash(), info.published());
        }
        while let Some(hash) = routers.next_forgotten() {
            let known = self.known.get(&hash).is_some_and(|(_, verified)| *verified);
            assert!(self.disk.remove(&hash).is_some() && !known, "seed {seed}: it is needed");
        }
        let verified = || self.known.iter().filter(|(_, (_, verified))| *verified);
        assert!(verified().map(|(hash, _)| hash).eq(self.disk.keys()), "seed {seed}");
        for (hash, (info, _)) in verified() {
            let behind = info.published().saturating_since(self.disk[hash]);
            assert!(behind < HOUR, "seed {seed}: {behind:?} behind");
        }
    }

    fn check(&self, routers: &Routers, seed: u64) {
        assert_eq!(routers.len(), self.known.len(), "seed {seed}");
        for (hash, (info, verified)) in &self.known {
            let found = routers.find(hash).map(|(record, verified)| (&record.info, verified));
            assert!(found == Some((info, *verified)), "seed {seed}");
        }
        let floodfills: BTreeSet<Hash> = self
            .known
            .iter()
            .filter(|(_, (info, _))| info.caps().floodfill)
            .map(|(hash, _)| *hash)
            .collect();
        assert!(routers.floodfills == floodfills, "seed {seed}");
        let (verified, unverified, _) = routers.counts();
        let want = self.known.values().filter(|(_, verified)| *verified).count();
        assert_eq!((verified, unverified), (want, self.known.len() - want), "seed {seed}");
    }
}

#[test]
fn any_stores_and_sweeps_leave_what_a_plain_map_says() {
    let all: Vec<Vec<RouterInfo>> = (0..ROUTERS).map(versions).collect();
    let (mut swept, mut refused) = (0, 0);
    for seed in 0..100 {
        let mut rng = Rng::new(&Seed::from_number(seed));
        let mut routers = Routers::new(Hash([0xaa; 32]), NET_ID, Reach::ntcp2(false), at(0));
        let (profiles, mut model) = (Profiles::new(), Model::default());
        let mut passed = Duration::ZERO;
        // Some networks are large enough for entries to expire, some are not.
        let members = ROUTERS - rng.below(60);
        for _ in 0..800 {
            let (now, unix) = (at(0) + passed, UNIX + passed);
            let versions = &all[rng.below(members) as usize];
            match rng.below(100) {
                0..75 => {
                    let info = versions[rng.index(versions.len())].clone();
                    let source = match rng.below(8) {
                        // What is on the disk is read only once, before anything else.
                        0 if model.known.is_empty() => Source::Saved,
                        0 | 1 => Source::Reseed,
                        2 | 3 => Source::Itself,
                        _ => Source::Others,
                    };
                    let result = routers.check(now, unix, &info, source);
                    assert_eq!(result, model.judge(passed, unix, &info, source), "seed {seed}");
                    refused += u32::from(result.is_err());
                    if matches!(result, Ok(Stored::New | Stored::Newer)) {
                        routers.insert(now, info.clone(), source, &profiles, &mut rng);
                        model.store(info, source);
                    }
                }
                75..83 => {
                    let hash = versions[0].hash();
                    routers.promote(now, &hash, &profiles, &mut rng);
                    if let Some((_, verified)) = model.known.get_mut(&hash) {
                        *verified = true;
                    }
                }
                83..86 => {
                    routers.remove(&versions[0].hash());
                    model.known.remove(&versions[0].hash());
                }
                86..90 => model.write(&mut routers, seed),
                90..94 => passed += Duration::from_secs(rng.below(4 * 3600)),
                _ => {
                    let before = model.known.len();
                    routers.sweep(now, unix);
                    model.sweep(passed, unix);
                    swept += before - model.known.len();
                }
            }
            model.check(&routers, seed);
        }
        model.write(&mut routers, seed);
    }
    assert!(swept > 300 && refused > 10_000, "{swept} swept, {refused} refused");
}
