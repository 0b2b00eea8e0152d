//! Publishing: our RouterInfo and the lease sets of our destinations.

use super::choose::Choice;
use super::lookup::Unsent;
use super::profile::Outcome;
use super::publish::{Place, Publication, Rules, Step, Verdict};
use super::routing_key::{RoutingKey, until_midnight};
use super::search::published;
use super::{Context, NetDb, NetDbAction, StoreEntry, Timer};
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use crate::wire::lease_set::LeaseSet;
use crate::wire::router_info::RouterInfo;
use alloc::vec::Vec;
use core::time::Duration;

/// Entries that we keep published.
pub const MAX_PUBLICATIONS: usize = 256;
/// Our RouterInfo is made anew after this and up to four minutes more.
const RENEW_AFTER: Duration = Duration::from_secs(36 * 60);
/// The embedder is reminded in this period.
const RENEW_AGAIN: Duration = Duration::from_secs(60);
/// A session may have to be established before a RouterInfo can be stored.
const DIRECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An entry of ours from this far in the future was made before the clock was put back.
const CLOCK_STEPPED: Duration = Duration::from_secs(5);
/// This token would not be answered by some routers.
const UNANSWERED_TOKEN: u32 = u32::MAX;

/// Why an entry is not published: our own caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// What is published already was made at the same time or later.
    #[error("not newer than what is published")]
    NotNewer,
    /// It is over.
    #[error("expired")]
    Expired,
    /// Its owner does not want it to be published.
    #[error("marked as unpublished")]
    Unpublished,
    /// Too many entries are published.
    #[error("too many published entries")]
    Full,
}

impl NetDb {
    /// Our RouterInfo, newly signed: stores it at the floodfills near our hash, in this version
    /// until the next one, and answers lookups with it.
    pub fn publish_router(
        &mut self,
        now: Instant,
        unix: UnixTime,
        info: RouterInfo,
    ) -> Result<(), PublishError> {
        let jitter = Duration::from_millis(self.rng.below(240_000));
        self.timers.set(Timer::Renew, Some(now + RENEW_AFTER + jitter));
        self.own = Some(info.clone());
        let entry = StoreEntry::RouterInfo(info);
        self.publish(now, unix, Context::ROUTER, entry, Rules::ROUTER_INFO)
    }

    /// A destination's lease set, newly signed: stores it at the floodfills near its key until it
    /// expires or the next version comes. Two versions need different seconds of publication.
    pub fn publish_lease_set(
        &mut self,
        now: Instant,
        unix: UnixTime,
        ctx: Context,
        set: LeaseSet,
    ) -> Result<(), PublishError> {
        if set.is_unpublished() {
            return Err(PublishError::Unpublished);
        }
        if set.expires() <= unix {
            return Err(PublishError::Expired);
        }
        self.publish(now, unix, ctx, StoreEntry::LeaseSet(set), Rules::LEASE_SET)
    }

    /// Stops keeping a lease set published.
    pub fn withdraw(&mut self, ctx: Context, key: Hash) {
        self.drop_publication((ctx, key));
    }

    /// True once a floodfill confirmed the present version of an entry of ours.
    #[must_use]
    pub fn is_published(&self, ctx: Context, key: &Hash) -> bool {
        self.publications.get(&(ctx, *key)).is_some_and(Publication::is_confirmed)
    }

    /// True once another floodfill was seen to have it.
    #[must_use]
    pub fn is_verified(&self, ctx: Context, key: &Hash) -> bool {
        self.publications.get(&(ctx, *key)).is_some_and(Publication::is_verified)
    }

    /// A DeliveryStatus arrived, in the router's own context over a session or through one of its
    /// tunnels, in a destination's through one of that one's. True when it confirms a store of
    /// ours; otherwise it is for somebody else.
    pub fn handle_delivery_status(
        &mut self,
        now: Instant,
        unix: UnixTime,
        ctx: Context,
        id: u32,
    ) -> bool {
        let Some(key) = self.tokens.get(&id).copied().filter(|(c, _)| *c == ctx) else {
            return false;
        };
        self.tokens.remove(&id);
        let confirmed = self
            .publications
            .get_mut(&key)
            .and_then(|p| p.handle_confirmed(now, id, &mut self.rng));
        if let Some(confirmed) = confirmed {
            if let Some(state) = self.contexts.get_mut(&ctx) {
                state.note_served(&confirmed.floodfill);
                state.rtt.sample(confirmed.latency);
            }
            if ctx == Context::ROUTER {
                self.report(now, unix, confirmed.floodfill, Outcome::Answered);
            }
        }
        self.drive_publication(now, unix, key);
        true
    }

    /// The store that [`NetDbAction::Store`] asked for could not be sent: no tunnel, no session.
    pub fn handle_store_unsent(&mut self, now: Instant, unix: UnixTime, token: u32, why: Unsent) {
        let Some(key) = self.tokens.remove(&token) else { return };
        if let Some(publication) = self.publications.get_mut(&key) {
            publication.handle_unsent(now, token, why);
        }
        self.drive_publication(now, unix, key);
    }

    /// A context has tunnels in both directions: what could not be stored for want of one is stored
    /// now.
    pub fn handle_tunnels(&mut self, now: Instant, unix: UnixTime, ctx: Context) {
        let keys: Vec<_> = self.publications.keys().filter(|(c, _)| *c == ctx).copied().collect();
        for key in keys {
            if let Some(publication) = self.publications.get_mut(&key) {
                publication.handle_tunnels(now);
                self.drive_publication(now, unix, key);
            }
        }
    }

    /// A router could not be dialled: our RouterInfo did not leave for it.
    pub(super) fn stores_unreachable(&mut self, now: Instant, unix: UnixTime, router: Hash) {
        let lost: Vec<u32> = self
            .publications
            .values()
            .filter(|p| matches!(p.entry(), StoreEntry::RouterInfo(_)))
            .flat_map(|p| p.tokens_at(&router))
            .collect();
        for token in lost {
            self.handle_store_unsent(now, unix, token, Unsent::Unreachable);
        }
    }

    /// The outcome of a verification.
    pub(super) fn verified(
        &mut self,
        now: Instant,
        unix: UnixTime,
        key: (Context, Hash),
        verdict: Verdict,
    ) {
        if let Some(publication) = self.publications.get_mut(&key) {
            publication.verified(now, verdict);
            self.drive_publication(now, unix, key);
        }
    }

    pub(super) fn publication_timeout(
        &mut self,
        now: Instant,
        unix: UnixTime,
        key: (Context, Hash),
    ) {
        let Some(publication) = self.publications.get_mut(&key) else { return };
        for floodfill in publication.handle_timeout(now) {
            self.note_unanswered(now, unix, key.0, floodfill, Outcome::Unanswered);
        }
        self.drive_publication(now, unix, key);
    }

    /// Forgets what has expired, and sees to the turn of the day.
    pub(super) fn publications_tick(&mut self, now: Instant, unix: UnixTime) {
        let keys: alloc::vec::Vec<_> = self.publications.keys().copied().collect();
        for key in keys {
            let Some(publication) = self.publications.get_mut(&key) else { continue };
            let over = match publication.entry() {
                StoreEntry::RouterInfo(_) => false,
                StoreEntry::LeaseSet(set) => set.expires() <= unix,
            };
            if over {
                self.drop_publication(key);
            } else {
                publication.handle_day(now, unix, &mut self.rng);
                self.drive_publication(now, unix, key);
            }
        }
    }

    pub(super) fn renew_due(&mut self, now: Instant) {
        self.timers.set(Timer::Renew, Some(now + RENEW_AGAIN));
        self.push(NetDbAction::Renew);
    }

    pub(super) fn drop_publication(&mut self, key: (Context, Hash)) {
        if let Some(publication) = self.publications.remove(&key) {
            publication.tokens().for_each(|token| {
                self.tokens.remove(&token);
            });
            self.timers.set(Timer::Publication(key.0, key.1), None);
        }
    }

    fn publish(
        &mut self,
        now: Instant,
        unix: UnixTime,
        ctx: Context,
        entry: StoreEntry,
        rules: Rules,
    ) -> Result<(), PublishError> {
        let key = (ctx, entry.key());
        let target = RoutingKey::new(&key.1, unix);
        let crowded = self.routers.crowd(&target).is_some();
        if let Some(publication) = self.publications.get_mut(&key) {
            let before = published(publication.entry());
            // When the clock was put back, what we made before lies in the future.
            let stepped = before > unix + CLOCK_STEPPED;
            if before >= published(&entry) && !stepped {
                return Err(PublishError::NotNewer);
            }
            publication.tokens().for_each(|token| {
                self.tokens.remove(&token);
            });
            publication.replace(now, unix, entry, crowded);
        } else {
            let room = self.publications.len() < MAX_PUBLICATIONS;
            if !room || self.context(ctx).is_none() {
                return Err(PublishError::Full);
            }
            let publication = Publication::new(now, unix, entry, rules, crowded);
            self.publications.insert(key, publication);
        }
        self.drive_publication(now, unix, key);
        Ok(())
    }

    /// Does what the publication wants next and sets its timer.
    fn drive_publication(&mut self, now: Instant, unix: UnixTime, key: (Context, Hash)) {
        // Each turn moves one of at most three legs out of the state that asked for it.
        loop {
            let Some(publication) = self.publications.get_mut(&key) else { return };
            match publication.poll_step(now) {
                Some(Step::Store { place, exclude }) => {
                    self.store(now, unix, key, place, &exclude);
                }
                Some(Step::Verify { exclude }) => {
                    let entry = publication.entry().clone();
                    if !self.start_verification(now, unix, key.0, &entry, &exclude)
                        && let Some(publication) = self.publications.get_mut(&key)
                    {
                        // Nobody else is known who could be asked.
                        publication.verified(now, Verdict::There);
                    }
                }
                None => {
                    let due = publication.poll_timeout();
                    return self.timers.set(Timer::Publication(key.0, key.1), due);
                }
            }
        }
    }

    fn store(
        &mut self,
        now: Instant,
        unix: UnixTime,
        key: (Context, Hash),
        place: Place,
        exclude: &[Hash],
    ) {
        let ctx = key.0;
        let day = match place {
            Place::Today | Place::Beyond => unix,
            Place::Tomorrow => unix + until_midnight(unix),
        };
        let target = RoutingKey::new(&key.1, day);
        let floor = match place {
            Place::Today | Place::Tomorrow => 0,
            Place::Beyond => self.routers.crowd(&target).unwrap_or(0),
        };
        let Some(entry) = self.publications.get(&key).map(|p| p.entry().clone()) else { return };
        let (direct, timeout) = match &entry {
            StoreEntry::RouterInfo(_) => (true, DIRECT_TIMEOUT),
            StoreEntry::LeaseSet(_) => (false, self.rtt_of(ctx).timeout() * 3 / 2),
        };
        let choice = Choice { ctx, target, floor, direct, exclude, count: 1 };
        let chosen = self.choose(now, &choice).into_iter().next();
        let info = chosen.and_then(|hash| self.floodfill(ctx, &hash).cloned());
        let token = self.new_token();
        let Some(publication) = self.publications.get_mut(&key) else { return };
        match info {
            Some(floodfill) => {
                let dropped = publication.sent(now, place, floodfill.hash(), token, timeout);
                if let Some(dropped) = dropped {
                    self.tokens.remove(&dropped);
                }
                self.tokens.insert(token, key);
                self.push(NetDbAction::Store { ctx, floodfill, entry, token });
            }
            None => publication.no_floodfill(now, place),
        }
    }

    fn new_token(&mut self) -> u32 {
        loop {
            let token = self.rng.nonzero_u32();
            if token != UNANSWERED_TOKEN && !self.tokens.contains_key(&token) {
                return token;
            }
        }
    }
}
