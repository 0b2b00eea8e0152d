//! A box that translates addresses, in the words of RFC 4787. It has no clock and carries nothing: it says what
//! becomes of an address.

use ramson_core::rng::Rng;
use ramson_core::time::Instant;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What a box never takes of its own accord.
const FIRST_PORT: u64 = 1024;
const LAST_PORT: u64 = 65_535;

/// On how much of the far end it depends which mapping is used (RFC 4787 section 4.1), or who is let in
/// (section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dependence {
    /// On nothing: one mapping for everybody; whoever sends is let in.
    #[default]
    EndpointIndependent,
    /// On its address.
    AddressDependent,
    /// On its address and port.
    AddressAndPortDependent,
}

impl Dependence {
    /// All there are.
    pub const ALL: [Self; 3] =
        [Self::EndpointIndependent, Self::AddressDependent, Self::AddressAndPortDependent];

    /// What counts of a far end.
    const fn of(self, far: SocketAddr) -> SocketAddr {
        match self {
            Self::EndpointIndependent => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            Self::AddressDependent => SocketAddr::new(far.ip(), 0),
            Self::AddressAndPortDependent => far,
        }
    }
}

/// What a box is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatKind {
    /// When it takes another port.
    pub mapping: Dependence,
    /// Whom it lets in.
    pub filtering: Dependence,
    /// What nobody inside used for so long is gone. What comes from outside does not count as use.
    pub lifetime: Duration,
    /// Keeps the port of whoever is inside, if it is free; else all are drawn.
    pub preserves_ports: bool,
    /// Whether those inside reach each other by its address.
    pub hairpin: bool,
}

impl Default for NatKind {
    /// What RFC 4787 asks for, but for the hairpin.
    fn default() -> Self {
        Self {
            mapping: Dependence::EndpointIndependent,
            filtering: Dependence::EndpointIndependent,
            lifetime: Duration::from_secs(120),
            preserves_ports: true,
            hairpin: false,
        }
    }
}

/// A box, and what it remembers.
pub struct Nat {
    kind: NatKind,
    /// `None` for one that filters only.
    address: Option<IpAddr>,
    rng: Rng,
    mappings: BTreeMap<Key, Mapping>,
    taken: BTreeMap<SocketAddr, Key>,
    swept: Instant,
}

/// Who is inside, and what counts of the far end.
type Key = (SocketAddr, SocketAddr);

struct Mapping {
    external: SocketAddr,
    used: Instant,
    /// What counts of those who are let in, and when something was sent to them.
    admitted: BTreeMap<SocketAddr, Instant>,
}

impl Nat {
    /// A box with this address outside.
    #[must_use]
    pub const fn new(kind: NatKind, address: IpAddr, rng: Rng) -> Self {
        Self {
            kind,
            address: Some(address),
            rng,
            mappings: BTreeMap::new(),
            taken: BTreeMap::new(),
            swept: Instant::ZERO,
        }
    }

    /// One that translates nothing, and lets in only the answers of those who were asked.
    #[must_use]
    pub fn firewall(rng: Rng) -> Self {
        let filtering = Dependence::AddressAndPortDependent;
        let kind = NatKind { filtering, ..NatKind::default() };
        Self { address: None, ..Self::new(kind, IpAddr::V4(Ipv4Addr::UNSPECIFIED), rng) }
    }

    /// What it is like.
    #[must_use]
    pub const fn kind(&self) -> NatKind {
        self.kind
    }

    /// Its address outside; `None` for one that filters only.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Something goes from inside to `to`: whom that sees as its sender. `None` when no port is free.
    pub fn outbound(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Option<SocketAddr> {
        if now.saturating_since(self.swept) >= self.kind.lifetime {
            self.sweep(now);
        }
        let key = (from, self.kind.mapping.of(to));
        let lives = self.mappings.get(&key).is_some_and(|mapping| self.is_fresh(now, mapping.used));
        if !lives {
            if let Some(old) = self.mappings.remove(&key) {
                self.taken.remove(&old.external);
            }
            let external = self.free(now, from)?;
            if let Some(dead) = self.taken.insert(external, key) {
                self.mappings.remove(&dead);
            }
            let admitted = BTreeMap::new();
            self.mappings.insert(key, Mapping { external, used: now, admitted });
        }
        let mapping = self.mappings.get_mut(&key)?;
        mapping.used = now;
        mapping.admitted.insert(self.kind.filtering.of(to), now);
        Some(mapping.external)
    }

    /// Something comes from outside for `to`: whom it is for, if anybody.
    #[must_use]
    pub fn inbound(&self, now: Instant, from: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
        let key = self.taken.get(&to)?;
        let mapping = self.mappings.get(key)?;
        let asked = *mapping.admitted.get(&self.kind.filtering.of(from))?;
        // Of whom nobody inside wrote to lately, it remembers nothing, though others keep the mapping.
        (self.is_fresh(now, mapping.used) && self.is_fresh(now, asked)).then_some(key.0)
    }

    /// It forgets all, as after a restart; and has another address, if one is given.
    pub fn rebind(&mut self, address: Option<IpAddr>) {
        self.mappings.clear();
        self.taken.clear();
        self.address = self.address.map(|old| address.unwrap_or(old));
    }

    fn is_fresh(&self, now: Instant, used: Instant) -> bool {
        now.saturating_since(used) < self.kind.lifetime
    }

    /// An external end that nobody has.
    fn free(&mut self, now: Instant, from: SocketAddr) -> Option<SocketAddr> {
        let Some(address) = self.address else { return Some(from) };
        let same = SocketAddr::new(address, from.port());
        if self.kind.preserves_ports && !self.is_taken(now, same) {
            return Some(same);
        }
        let ports = LAST_PORT - FIRST_PORT + 1;
        let first = self.rng.below(ports);
        let port = |n| (FIRST_PORT + (first + n) % ports) as u16;
        let mut ends = (0..ports).map(|n| SocketAddr::new(address, port(n)));
        ends.find(|end| !self.is_taken(now, *end))
    }

    /// Whoever's mapping is dead does not keep the port.
    fn is_taken(&self, now: Instant, external: SocketAddr) -> bool {
        let mapping = self.taken.get(&external).and_then(|key| self.mappings.get(key));
        mapping.is_some_and(|mapping| self.is_fresh(now, mapping.used))
    }

    /// Drops what is dead, so that a long run does not fill the memory.
    fn sweep(&mut self, now: Instant) {
        self.swept = now;
        let lifetime = self.kind.lifetime;
        let fresh = |used: &Instant| now.saturating_since(*used) < lifetime;
        self.mappings.retain(|_, mapping| fresh(&mapping.used));
        for mapping in self.mappings.values_mut() {
            mapping.admitted.retain(|_, asked| fresh(asked));
        }
        self.taken.retain(|_, key| self.mappings.contains_key(key));
    }
}

#[cfg(test)]
mod tests;
