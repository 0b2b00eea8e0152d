//! What every transport checks of a peer: its clock, its RouterInfo, and where it connects from.

use crate::crypto::x25519::PublicKey;
use crate::time::UnixTime;
use crate::wire::hash::Hash;
use crate::wire::router_info::RouterInfo;
use core::net::IpAddr;
use core::time::Duration;

/// How far two clocks may differ ("Clock Skew Guidelines" of `ntcp2`).
pub const MAX_SKEW: Duration = Duration::from_secs(60);

/// How old the RouterInfo of who connects may be: others publish at least every 40 minutes.
const MAX_AGE: Duration = Duration::from_secs(90 * 60);
/// How far ahead of our clock it may be.
const MAX_AHEAD: Duration = Duration::from_secs(2 * 60);

/// Why a peer's RouterInfo is not good enough for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// It is of another network, or does not say.
    #[error("RouterInfo of another network")]
    NetId,
    /// The peer says that it is us.
    #[error("our own identity")]
    OwnIdentity,
    /// It is too old, or from the future.
    #[error("RouterInfo too old, or from the future")]
    Age,
    /// It has no address of the transport with the key of the handshake.
    #[error("static key is not that of the RouterInfo")]
    StaticKey,
    /// Its signature is bad.
    #[error("RouterInfo signature")]
    Signature,
}

/// Seconds that a clock which said `timestamp` half a round trip before `unix` is ahead of ours.
pub(super) fn skew(timestamp: u32, unix: UnixTime, rtt: Duration) -> i64 {
    let sent = unix - rtt / 2;
    i64::from(timestamp) - i64::from(sent.as_secs_rounded())
}

/// Whether clocks that differ by so many seconds may talk.
pub(super) const fn tolerable(skew: i64) -> bool {
    skew.unsigned_abs() <= MAX_SKEW.as_secs()
}

/// What `skew`, measured when a peer's first message came, is now that we know the round trip: that message was
/// on its way for half of it.
pub(super) fn skew_with_rtt(skew: i64, rtt: Duration) -> i64 {
    skew.saturating_add((rtt / 2).as_secs().min(i64::MAX as u64) as i64)
}

/// What is checked of the RouterInfo that a peer with the static key `peer` shows; `keys` are those of its
/// addresses of the transport. Any address will do, published or not: a router may have one for each family.
/// Where the peer connects from is left to whoever knows it.
pub(super) fn router_info(
    info: &RouterInfo,
    mut keys: impl Iterator<Item = PublicKey>,
    peer: &PublicKey,
    own: &Hash,
    net_id: u8,
    unix: UnixTime,
) -> Result<(), Unfit> {
    if info.net_id() != Some(net_id) {
        return Err(Unfit::NetId);
    }
    if info.hash() == *own {
        return Err(Unfit::OwnIdentity);
    }
    let published = info.published();
    if published + MAX_AGE < unix || published > unix + MAX_AHEAD {
        return Err(Unfit::Age);
    }
    if !keys.any(|key| key == *peer) {
        return Err(Unfit::StaticKey);
    }
    info.verify().map_err(|_| Unfit::Signature)
}

/// Whether a router that publishes `hosts` may connect from `source`: if it publishes any of that family, from
/// one of these, or for IPv6 from the same /64.
pub(super) fn may_come_from(hosts: impl Iterator<Item = IpAddr>, source: IpAddr) -> bool {
    let source = source.to_canonical();
    let mut published = hosts.filter(|host| host.is_ipv4() == source.is_ipv4()).peekable();
    published.peek().is_none()
        || published.any(|host| match (host, source) {
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                a.octets().first_chunk::<8>() == b.octets().first_chunk::<8>()
            }
            (a, b) => a == b,
        })
}
