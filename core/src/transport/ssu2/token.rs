//! Tokens: what proves that a peer receives at the address that it writes into its packets (specification `ssu2`,
//! Tokens).

mod received;

pub use received::ReceivedTokens;

use crate::audit::Audit;
use crate::crypto::siphash::siphash24;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::codec::Put;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::num::NonZeroU64;
use core::time::Duration;
use subtle::ConstantTimeEq;
use zeroize::ZeroizeOnDrop;

/// Why a token is not taken. It may have been good, so that whoever sent it gets a Retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not a token of ours, or of another address, or expired.
    #[error("token unknown")]
    Unknown,
    /// It was good, and was used.
    #[error("token used before")]
    Used,
    /// It is good, and there is no room to remember that it was used.
    #[error("too many tokens used")]
    Full,
}

/// Proof that a packet's sender receives at its address: a token that was good when it was checked.
#[derive(Debug)]
pub struct ValidToken {
    from: SocketAddr,
    token: u64,
    kind: Kind,
    expiry: u64,
}

impl ValidToken {
    /// The address.
    #[must_use]
    pub const fn from(&self) -> SocketAddr {
        self.from
    }

    /// The token.
    #[must_use]
    pub const fn token(&self) -> u64 {
        self.token
    }
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The Retry that has it.
    Retry,
    /// A later connection.
    Later,
}

impl Kind {
    /// Time is counted in epochs of this length.
    const fn epoch(self) -> Duration {
        match self {
            Self::Retry => Duration::from_secs(2),
            Self::Later => Duration::from_mins(5),
        }
    }

    /// Epochs from that in which a token is made to that with whose beginning it expires.
    const fn epochs(self) -> u64 {
        match self {
            Self::Retry => 6,
            Self::Later => 12,
        }
    }

    fn epoch_at(self, now: Instant) -> u64 {
        // Not zero.
        now.as_micros() / (self.epoch().as_micros() as u64).max(1)
    }

    /// The beginning of an epoch.
    fn begin(self, epoch: u64) -> Instant {
        Instant::from_micros(epoch.saturating_mul(self.epoch().as_micros() as u64))
    }

    const fn of(token: u64) -> Self {
        if token >> (u64::BITS - 1) == 0 { Self::Retry } else { Self::Later }
    }
}

/// Low bits of the epoch with whose beginning a token expires.
const EXPIRY_BITS: u32 = 4;
/// Random bits, so that an address can have several in an epoch.
const NONCE_BITS: u32 = 9;
/// What nobody but us can make.
const MAC_BITS: u32 = 50;
const _: () = assert!(1 + EXPIRY_BITS + NONCE_BITS + MAC_BITS == u64::BITS);
const _: () = assert!(Kind::Retry.epochs() < 1 << EXPIRY_BITS);
const _: () = assert!(Kind::Later.epochs() < 1 << EXPIRY_BITS);

/// The tokens that we give.
///
/// A token is `kind(1) expiry(4) nonce(9) mac(50)` bits. The MAC is over all that, the whole expiry and the peer's
/// IP address and port, under a secret that is drawn anew at each start: nothing is kept for a token before
/// it is used. For one address and instant at most 2^14 of the 2^64 values are good, so that one that is guessed
/// is with a chance of 2^-50 at most. The specification would have random tokens that are kept, because others
/// could be used twice: so which were used is kept, until they expire, in a log for each kind, of
/// [`LOG_CAPACITY`](Self::LOG_CAPACITY) entries and half a MiB at most. A full log takes no more, and the peer gets a
/// Retry. Two logs, so that tokens of the one kind cannot make those of the other useless; to fill the one
/// for Retries someone has to start so many handshakes from addresses that he receives at within 12 s, and to fill
/// the other to have had so many sessions.
pub struct Tokens {
    secret: Secret,
    used: [Log; 2],
}

#[derive(ZeroizeOnDrop)]
struct Secret(u64, u64);

/// Tokens that were used, by the epoch with whose beginning they expire.
#[derive(Default)]
struct Log {
    epochs: BTreeMap<u64, BTreeSet<u64>>,
    len: usize,
}

impl Tokens {
    /// Used tokens of one kind that are remembered at most.
    pub const LOG_CAPACITY: usize = 16_384;

    /// With a new secret.
    #[must_use]
    pub fn new(rng: &mut Rng) -> Self {
        Self { secret: Secret(rng.u64(), rng.u64()), used: Default::default() }
    }

    /// One to send in a Retry to `to`, good for 10 to 12 s.
    #[must_use]
    pub fn for_retry(&self, now: Instant, to: SocketAddr, rng: &mut Rng) -> NonZeroU64 {
        self.give(Kind::Retry, now, to, rng).0
    }

    /// One for a later connection from `to`, and how long it is good: 55 to 60 minutes.
    #[must_use]
    pub fn for_later(&self, now: Instant, to: SocketAddr, rng: &mut Rng) -> (NonZeroU64, Duration) {
        self.give(Kind::Later, now, to, rng)
    }

    /// Checks a token that came from `from`. It stays good until the packet with it authenticated: anybody on the
    /// way can copy it into one that does not.
    pub fn check(
        &mut self,
        now: Instant,
        from: SocketAddr,
        token: u64,
    ) -> Result<ValidToken, TokenError> {
        let kind = Kind::of(token);
        let epoch = kind.epoch_at(now);
        // The one next epoch that ends in these bits.
        let ahead = (token >> (NONCE_BITS + MAC_BITS)).wrapping_sub(epoch) & mask(EXPIRY_BITS);
        if !(1..=kind.epochs()).contains(&ahead) {
            return Err(TokenError::Unknown);
        }
        let expiry = epoch.saturating_add(ahead);
        let nonce = token >> MAC_BITS & mask(NONCE_BITS);
        let real = self.make(kind, expiry, nonce, from);
        if !bool::from(real.to_be_bytes().ct_eq(&token.to_be_bytes())) {
            return Err(TokenError::Unknown);
        }
        let log = self.log(kind);
        log.expire(epoch);
        log.check(expiry, token)?;
        Ok(ValidToken { from, token, kind, expiry })
    }

    /// The packet with the token authenticated: it is not good any more. An error when it is not by now.
    pub(super) fn spend(&mut self, token: ValidToken) -> Result<(), TokenError> {
        let ValidToken { token, kind, expiry, .. } = token;
        let log = self.log(kind);
        log.check(expiry, token)?;
        log.epochs.entry(expiry).or_default().insert(token);
        log.len += 1;
        Ok(())
    }

    /// What is held, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        for log in &self.used {
            audit.see("ssu2: tokens used", log.len, Self::LOG_CAPACITY);
        }
    }

    fn give(
        &self,
        kind: Kind,
        now: Instant,
        to: SocketAddr,
        rng: &mut Rng,
    ) -> (NonZeroU64, Duration) {
        let expiry = kind.epoch_at(now).saturating_add(kind.epochs());
        let left = kind.begin(expiry).saturating_since(now);
        loop {
            let nonce = rng.u64() & mask(NONCE_BITS);
            if let Some(token) = NonZeroU64::new(self.make(kind, expiry, nonce, to)) {
                return (token, left);
            }
        }
    }

    const fn log(&mut self, kind: Kind) -> &mut Log {
        let [retry, later] = &mut self.used;
        match kind {
            Kind::Retry => retry,
            Kind::Later => later,
        }
    }

    fn make(&self, kind: Kind, expiry: u64, nonce: u64, address: SocketAddr) -> u64 {
        let mut text = Vec::with_capacity(27);
        text.put_u8(kind as u8);
        text.put_u64(expiry << NONCE_BITS | nonce);
        text.put_u16(address.port());
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => text.put(&ip.octets()),
            IpAddr::V6(ip) => text.put(&ip.octets()),
        }
        let Secret(k1, k2) = self.secret;
        let mac = siphash24(k1, k2, &text) & mask(MAC_BITS);
        let expiry = expiry & mask(EXPIRY_BITS);
        ((kind as u64) << EXPIRY_BITS | expiry) << (NONCE_BITS + MAC_BITS) | nonce << MAC_BITS | mac
    }
}

impl Log {
    /// Forgets what is expired in `now`.
    fn expire(&mut self, now: u64) {
        while let Some(entry) = self.epochs.first_entry()
            && *entry.key() <= now
        {
            self.len = self.len.saturating_sub(entry.remove().len());
        }
    }

    /// Whether there is room to note a token, which was not used.
    fn check(&self, expiry: u64, token: u64) -> Result<(), TokenError> {
        if self.epochs.get(&expiry).is_some_and(|used| used.contains(&token)) {
            return Err(TokenError::Used);
        }
        if self.len >= Tokens::LOG_CAPACITY { Err(TokenError::Full) } else { Ok(()) }
    }
}

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

#[cfg(test)]
mod tests;
