//! Tokens that peers gave us.

use crate::audit::Audit;
use crate::time::{Instant, UnixTime};
use alloc::collections::{BTreeMap, BTreeSet};
use core::net::{IpAddr, SocketAddr};
use core::num::NonZeroU64;
use core::time::Duration;

/// The longest that one is kept, whatever the peer says.
const MAX_LIFETIME: Duration = Duration::from_hours(2);

/// An address, without what an IPv6 one has that tells of the socket and not of the peer.
type Key = (IpAddr, u16);

/// The tokens that peers gave us for our next connection to them, by their address: the latest of each.
///
/// A full store forgets the one that expires first. What we present too late, or after the peer forgot it,
/// costs us nothing but the Retry that we save otherwise.
#[derive(Debug, Default)]
pub struct ReceivedTokens {
    tokens: BTreeMap<Key, (Instant, NonZeroU64)>,
    expiries: BTreeSet<(Instant, Key)>,
}

impl ReceivedTokens {
    /// Tokens that are kept at most.
    pub const CAPACITY: usize = 2048;

    /// An empty store.
    #[must_use]
    pub const fn new() -> Self {
        Self { tokens: BTreeMap::new(), expiries: BTreeSet::new() }
    }

    /// How many there are, some of which may be expired.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Keeps what the peer at `from` gave us in a NewToken block: `expires` is in seconds since the epoch, by a
    /// clock that may differ a little from ours.
    pub fn insert(
        &mut self,
        now: Instant,
        unix: UnixTime,
        from: SocketAddr,
        expires: u32,
        token: u64,
    ) {
        let Some(token) = NonZeroU64::new(token) else { return };
        let left = UnixTime::from_secs(expires.into()).saturating_since(unix).min(MAX_LIFETIME);
        if left.is_zero() {
            return;
        }
        let key = key(from);
        self.remove(key);
        // Two for one, so that the expired ones get fewer.
        for _ in 0..2 {
            let Some((expiry, first)) = self.expiries.first().copied() else { break };
            if expiry > now && self.tokens.len() < Self::CAPACITY {
                break;
            }
            self.remove(first);
        }
        self.tokens.insert(key, (now + left, token));
        self.expiries.insert((now + left, key));
    }

    /// The token for a connection to `to`, which is good once: it is gone then.
    pub fn take(&mut self, now: Instant, to: SocketAddr) -> Option<NonZeroU64> {
        let (expiry, token) = self.remove(key(to))?;
        (expiry > now).then_some(token)
    }

    /// Forgets all: our address or port changed, to which they are bound.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// What is held, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        audit.see("ssu2: tokens received", self.tokens.len(), Self::CAPACITY);
        audit.see("ssu2: tokens received, by expiry", self.expiries.len(), self.tokens.len());
    }

    fn remove(&mut self, key: Key) -> Option<(Instant, NonZeroU64)> {
        let (expiry, token) = self.tokens.remove(&key)?;
        self.expiries.remove(&(expiry, key));
        Some((expiry, token))
    }
}

fn key(at: SocketAddr) -> Key {
    (at.ip().to_canonical(), at.port())
}
