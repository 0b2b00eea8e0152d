//! Answering other routers' lookups, as a router that is no floodfill must: for RouterInfos, when
//! asked over a session (notes 7.5).
//!
//! Everything about lease sets, exploration and stores that want to be passed on is the business
//! of a floodfill and not answered here.

use super::choose::Choice;
use super::store::Bucket;
use super::{Context, NetDb, NetDbAction};
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use crate::wire::i2np::{
    DatabaseLookup, DatabaseSearchReply, DatabaseStore, LookupType, ReplyEncryption, StoreEntry,
};
use alloc::collections::BTreeMap;
use core::time::Duration;

use super::routing_key::RoutingKey;

/// Routers whose lookups are counted at once: more than are answered in one window of two minutes.
/// Who does not fit in is not answered.
pub const MAX_THROTTLED_SOURCES: usize = 2_500;
/// Lookups that one router may send us in [`WINDOW`].
const PER_SOURCE: u32 = 14;
const WINDOW: Duration = Duration::from_secs(120);
/// Lookups of all routers together: so many a second, and so many at once.
const ALL: (u64, u64) = (20, 60);
/// Floodfills named to who asks for something that we do not have.
const NAMED: usize = 3;

/// The answer to a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Here it is.
    Store(DatabaseStore),
    /// Ask these.
    SearchReply(DatabaseSearchReply),
}

/// Counts lookups by the router that sends them.
pub(crate) struct Throttle {
    sources: BTreeMap<Hash, (Instant, u32)>,
    all: Bucket,
}

impl Throttle {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { sources: BTreeMap::new(), all: Bucket::new(now, ALL.0, ALL.1) }
    }

    /// True when another lookup of `source` may be answered.
    fn admit(&mut self, now: Instant, source: Hash) -> bool {
        let over = |since: Instant| now.saturating_since(since) >= WINDOW;
        match self.sources.get(&source) {
            Some((since, count)) if !over(*since) && *count >= PER_SOURCE => return false,
            None if self.sources.len() >= MAX_THROTTLED_SOURCES => {
                self.sources.retain(|_, (since, _)| !over(*since));
                if self.sources.len() >= MAX_THROTTLED_SOURCES {
                    return false;
                }
            }
            Some(_) | None => {}
        }
        if !self.all.take(now) {
            return false;
        }
        let (since, count) = self.sources.entry(source).or_insert((now, 0));
        if over(*since) {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        true
    }
}

impl NetDb {
    /// A lookup arrived over a session of `from`. What came through a tunnel must not be handed in
    /// here: nothing that we hold is for those who know only one of our tunnels.
    pub fn handle_lookup(
        &mut self,
        now: Instant,
        unix: UnixTime,
        from: Hash,
        lookup: DatabaseLookup,
    ) {
        let DatabaseLookup { key, from: to, reply_tunnel, kind, exclude, encryption } = lookup;
        if kind != LookupType::RouterInfo || key == Hash::ZERO {
            return;
        }
        // Without a tunnel the answer goes back to who asked: we connect to nobody on request.
        if reply_tunnel.is_none() && to != from || to == self.config.local {
            return;
        }
        // Encryption is defined for replies through tunnels only.
        let encryption = match (reply_tunnel, encryption) {
            (None, _) => ReplyEncryption::None,
            (Some(_), ReplyEncryption::ElGamal { .. }) => return,
            (Some(_), encryption) => encryption,
        };
        if !self.throttle.admit(now, from) {
            log::debug!("netdb: too many lookups of {from:?}");
            return;
        }
        let known = if key == self.config.local { self.own.as_ref() } else { self.router(&key) };
        let answer = match known {
            Some(info) => {
                let entry = StoreEntry::RouterInfo(info.clone());
                Answer::Store(DatabaseStore { reply: None, entry })
            }
            None => {
                let target = RoutingKey::new(&key, unix);
                let ctx = Context::ROUTER;
                let (floor, direct, count) = (0, false, NAMED);
                let choice = Choice { ctx, target, floor, direct, exclude: &exclude, count };
                let mut peers = self.choose(now, &choice);
                peers.retain(|peer| *peer != from);
                Answer::SearchReply(DatabaseSearchReply { key, peers, from: self.config.local })
            }
        };
        self.push(NetDbAction::Reply { to, tunnel: reply_tunnel, encryption, answer });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netdb::testing::at;

    #[test]
    fn one_router_gets_fourteen_answers_in_two_minutes() {
        let mut throttle = Throttle::new(at(0));
        let source = Hash([1; 32]);
        let admitted = (0..60u64).filter(|n| throttle.admit(at(n * 1000), source)).count();
        assert_eq!(admitted, 14);
        assert!(throttle.admit(at(60_000), Hash([2; 32])), "others are not affected");
        assert!(throttle.admit(at(120_000), source));
    }

    #[test]
    fn all_together_get_twenty_a_second_and_the_table_is_bounded() {
        let mut throttle = Throttle::new(at(0));
        let mut admitted = 0;
        for n in 0..10_000u64 {
            admitted += usize::from(throttle.admit(at(n), Hash::of(&n.to_be_bytes())));
            assert!(throttle.sources.len() <= MAX_THROTTLED_SOURCES);
        }
        assert!((255..=265).contains(&admitted), "{admitted}");
        for n in 0..200_000u64 {
            throttle.admit(at(20_000 + n * 20), Hash::of(&n.to_le_bytes()));
            assert!(throttle.sources.len() <= MAX_THROTTLED_SOURCES);
        }
    }
}
