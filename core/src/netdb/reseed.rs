//! First RouterInfos, from files that the user trusts: single ones or a zip of them (notes 7.7).

use super::{NetDb, StoreError};
use crate::netdb::store::Source;
use crate::time::{Instant, UnixTime};
use crate::wire::codec::DecodeError;
use crate::wire::router_info::{MAX_ROUTER_INFO_LEN, RouterInfo};
use crate::wire::zip;
use alloc::collections::BTreeMap;
use core::fmt;

/// Why a RouterInfo of a file is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is no RouterInfo.
    #[error("not a RouterInfo")]
    Malformed,
    /// Nobody can reach its router, so it is of no use to start from.
    #[error("without a usable address")]
    Unusable,
    /// As for any other entry.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// What became of the RouterInfos of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Usable ones, known already or not.
    pub used: usize,
    /// Refused ones, by reason.
    pub refused: BTreeMap<Refusal, usize>,
    /// Entries of a zip that are not RouterInfos by their name.
    pub skipped: usize,
}

impl Report {
    /// Counts those of `other` too.
    pub fn add(&mut self, other: &Self) {
        self.used += other.used;
        self.skipped += other.skipped;
        for (reason, count) in &other.refused {
            *self.refused.entry(*reason).or_default() += count;
        }
    }

    fn count(&mut self, result: Result<(), Refusal>) {
        match result {
            Ok(()) => self.used += 1,
            Err(reason) => *self.refused.entry(reason).or_default() += 1,
        }
    }
}

impl fmt::Display for Report {
    /// `93 routers used, 2 refused (too old), 1 refused (signature does not verify)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} routers used", self.used)?;
        for (reason, count) in &self.refused {
            write!(f, ", {count} refused ({reason})")?;
        }
        Ok(())
    }
}

impl NetDb {
    /// Takes in the RouterInfos of one file: a RouterInfo, or a zip of files whose names begin with
    /// `routerInfo-`. Each is checked: its network, its age (at most 30 days, any in test
    /// networks), whether its router can be reached, its signature. A zip without a
    /// readable directory is an error.
    ///
    /// Takes some 100 µs for each RouterInfo: for the start, before traffic flows.
    pub fn reseed(
        &mut self,
        now: Instant,
        unix: UnixTime,
        file: &[u8],
    ) -> Result<Report, DecodeError> {
        let mut report = Report::default();
        if !file.starts_with(b"PK\x03\x04") && !file.starts_with(b"PK\x05\x06") {
            report.count(self.reseed_one(now, unix, file));
            return Ok(report);
        }
        for entry in zip::Archive::new(file)?.entries() {
            // Some zips hold a folder.
            let name = entry.name.rsplit('/').next().unwrap_or_default();
            if !name.starts_with("routerInfo-") {
                report.skipped += 1;
                continue;
            }
            report.count(match entry.read(MAX_ROUTER_INFO_LEN) {
                Ok(bytes) => self.reseed_one(now, unix, &bytes),
                Err(_) => Err(Refusal::Malformed),
            });
        }
        Ok(report)
    }

    /// True when so few routers are known that the user should give us more to start from.
    #[must_use]
    pub fn needs_reseed(&self) -> bool {
        const FEW: usize = 5;
        self.routers.len() < FEW || self.routers.counts().2 == 0
    }

    /// True when no router is known at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routers.len() == 0
    }

    fn reseed_one(&mut self, now: Instant, unix: UnixTime, bytes: &[u8]) -> Result<(), Refusal> {
        let info = RouterInfo::decode(bytes).map_err(|_| Refusal::Malformed)?;
        self.routers.check_fresh(now, unix, &info, Source::Reseed)?;
        let traits = super::traits::Traits::of(&info, self.config.reach);
        if traits.host.is_none() && !traits.floodfill {
            return Err(Refusal::Unusable);
        }
        match self.insert_checked(now, unix, info, Source::Reseed) {
            // Our own and outdated copies are no fault of the file.
            Ok(_) | Err(StoreError::Older) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
