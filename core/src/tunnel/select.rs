//! Choosing the hops of a tunnel: a pure function of the candidates and of chance.
//!
//! The rules are a post-condition, [`check`]: no path leaves [`select`] that breaks one, whatever
//! the search does. A path is never shorter than asked for; if there is none, there is none.

use super::{Direction, Hop};
use crate::crypto::x25519::PublicKey;
use crate::rng::Rng;
use crate::wire::hash::Hash;
use alloc::vec::Vec;
use core::net::IpAddr;

/// Placements that one search tries before it gives up: enough for every small network, and a
/// bound for large ones.
const MAX_STEPS: usize = 4000;
/// A router that is in more of our tunnels than this, per thousand, is chosen rarely.
pub(super) const MAX_SHARE: u16 = 330;
/// By how much its weight shrinks then.
const CROWDED_DIVISOR: u32 = 32;

/// Routers whose addresses share a group are taken for one owner's: /16 of IPv4, /48 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// The first two bytes of an IPv4 address.
    V4([u8; 2]),
    /// The first six bytes of an IPv6 address.
    V6([u8; 6]),
}

impl Group {
    /// The group of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, ..] = v4.octets();
                Self::V4([a, b])
            }
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f])
            }
        }
    }
}

/// A router that might become a hop.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Who.
    pub hash: Hash,
    /// Its encryption key, from its identity.
    pub key: PublicKey,
    /// Groups of all its addresses.
    pub groups: Vec<Group>,
    /// It can speak IPv4.
    pub v4: bool,
    /// It can speak IPv6.
    pub v6: bool,
    /// It publishes an IPv4 address at which anybody reaches it.
    pub published_v4: bool,
    /// It publishes an IPv6 address at which anybody reaches it.
    pub published_v6: bool,
    /// A session with it is open.
    pub connected: bool,
    /// How good it is; 0 excludes it. Compared with the other candidates' only.
    pub weight: u32,
    /// In how many of our tunnels it is, per thousand.
    pub share: u16,
}

impl Candidate {
    /// True when this router can open a connection to `next`.
    const fn reaches(&self, next: &Self) -> bool {
        (self.v4 && next.published_v4) || (self.v6 && next.published_v6)
    }

    fn effective_weight(&self) -> u64 {
        let weight = if self.share > MAX_SHARE {
            (self.weight / CROWDED_DIVISOR).max(u32::from(self.weight > 0))
        } else {
            self.weight
        };
        weight.into()
    }
}

/// What path is wanted.
#[derive(Clone, Copy, Debug)]
pub struct PathRequest<'a> {
    /// Which way the messages go.
    pub direction: Direction,
    /// Hops, exactly.
    pub length: usize,
    /// This router: never a hop.
    pub local: Hash,
    /// This router speaks IPv4.
    pub local_v4: bool,
    /// This router speaks IPv6.
    pub local_v6: bool,
    /// Others can open connections to this router. If not, the last hop of an inbound tunnel
    /// must be connected already.
    pub local_published: bool,
    /// Two hops may share a group: for test networks only.
    pub same_group: bool,
    /// Used only if there is no path without them.
    pub avoid: &'a [Hash],
}

/// The rule that a path breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// Not as many hops as asked for.
    #[error("wrong length")]
    Length,
    /// A router twice, or this router.
    #[error("a router is repeated")]
    Repeated,
    /// Two hops of one group.
    #[error("two hops of one subnet")]
    SameGroup,
    /// A hop cannot reach the next, or we the first, or the last us.
    #[error("a hop cannot reach the next")]
    Unreachable,
    /// The gateway of an inbound tunnel must be published on IPv4, the endpoint of an outbound
    /// one must speak it, since most of the network knows nothing else.
    #[error("an end without IPv4")]
    End,
    /// A candidate that is excluded.
    #[error("an excluded router")]
    Excluded,
}

/// A path by all rules, in the direction of the messages; `None` when the candidates do not give
/// one.
#[must_use]
pub fn select(
    request: &PathRequest<'_>,
    candidates: &[Candidate],
    rng: &mut Rng,
) -> Option<Vec<Hop>> {
    for use_avoided in [false, true] {
        let usable: Vec<&Candidate> = candidates
            .iter()
            .filter(|c| c.weight > 0 && c.hash != request.local)
            .filter(|c| use_avoided || !request.avoid.contains(&c.hash))
            .collect();
        let mut search = Search { request, usable: &usable, rng, steps: MAX_STEPS };
        let mut places = alloc::vec![None; request.length];
        if search.fill(&order(request), &mut places) {
            let path: Vec<&Candidate> = places.into_iter().flatten().collect();
            if check(request, &path).is_ok() {
                return Some(path.iter().map(|c| Hop { hash: c.hash, key: c.key }).collect());
            }
        }
        if request.avoid.is_empty() {
            break;
        }
    }
    None
}

/// The rules of a path.
pub fn check(request: &PathRequest<'_>, path: &[&Candidate]) -> Result<(), Broken> {
    if path.len() != request.length {
        return Err(Broken::Length);
    }
    for (i, a) in path.iter().enumerate() {
        if a.weight == 0 {
            return Err(Broken::Excluded);
        }
        if a.hash == request.local {
            return Err(Broken::Repeated);
        }
        for b in path.iter().skip(i + 1) {
            if a.hash == b.hash {
                return Err(Broken::Repeated);
            }
            if !request.same_group && a.groups.iter().any(|g| b.groups.contains(g)) {
                return Err(Broken::SameGroup);
            }
        }
        if !fits(request, i, a) {
            let end = match request.direction {
                Direction::Inbound => i == 0 && !a.published_v4,
                Direction::Outbound => i + 1 == path.len() && !a.v4,
            };
            return Err(if end { Broken::End } else { Broken::Unreachable });
        }
    }
    if path.iter().zip(path.iter().skip(1)).any(|(a, b)| !a.reaches(b)) {
        return Err(Broken::Unreachable);
    }
    Ok(())
}

/// The rules of one place, whatever is in the others.
fn fits(request: &PathRequest<'_>, place: usize, c: &Candidate) -> bool {
    let (first, last) = (place == 0, place + 1 == request.length);
    let we_reach = (request.local_v4 && c.published_v4) || (request.local_v6 && c.published_v6);
    match request.direction {
        Direction::Outbound => (!first || we_reach || c.connected) && (!last || c.v4),
        Direction::Inbound => {
            let reaches_us = c.connected
                || (request.local_published
                    && ((c.v4 && request.local_v4) || (c.v6 && request.local_v6)));
            (!first || c.published_v4) && (!last || reaches_us)
        }
    }
}

/// The places in the order of filling: ends first, since fewest routers fit there.
fn order(request: &PathRequest<'_>) -> Vec<usize> {
    let last = request.length.saturating_sub(1);
    let ends = match request.direction {
        Direction::Inbound => [0, last],
        Direction::Outbound => [last, 0],
    };
    let mut order: Vec<usize> = ends.into_iter().take(request.length.min(2)).collect();
    order.extend(1..last);
    order
}

struct Search<'a, 'r> {
    request: &'a PathRequest<'a>,
    usable: &'a [&'a Candidate],
    rng: &'r mut Rng,
    steps: usize,
}

impl<'a> Search<'a, '_> {
    /// Fills the places of `order`, going back where a choice leads nowhere.
    fn fill(&mut self, order: &[usize], places: &mut Vec<Option<&'a Candidate>>) -> bool {
        let Some((place, rest)) = order.split_first() else { return true };
        let mut fitting: Vec<&'a Candidate> =
            self.usable.iter().copied().filter(|c| self.may(places, *place, c)).collect();
        while let Some(chosen) = self.draw(&mut fitting) {
            if self.steps == 0 {
                return false;
            }
            self.steps -= 1;
            if let Some(slot) = places.get_mut(*place) {
                *slot = Some(chosen);
            }
            if self.fill(rest, places) {
                return true;
            }
            if let Some(slot) = places.get_mut(*place) {
                *slot = None;
            }
        }
        false
    }

    fn may(&self, places: &[Option<&Candidate>], place: usize, c: &Candidate) -> bool {
        let at = |i: Option<usize>| i.and_then(|i| places.get(i).copied().flatten());
        fits(self.request, place, c)
            && places.iter().flatten().all(|other| {
                other.hash != c.hash
                    && (self.request.same_group
                        || !c.groups.iter().any(|g| other.groups.contains(g)))
            })
            && at(place.checked_sub(1)).is_none_or(|before| before.reaches(c))
            && at(place.checked_add(1)).is_none_or(|after| c.reaches(after))
    }

    /// Takes one out, heavier ones more often.
    fn draw(&mut self, from: &mut Vec<&'a Candidate>) -> Option<&'a Candidate> {
        let total: u64 = from.iter().map(|c| c.effective_weight()).sum();
        let mut at = self.rng.below(total);
        let index = from.iter().position(|c| match at.checked_sub(c.effective_weight()) {
            Some(left) => {
                at = left;
                false
            }
            None => true,
        })?;
        Some(from.swap_remove(index))
    }
}

#[cfg(test)]
mod tests;
