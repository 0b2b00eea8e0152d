//! What must be true after each step, whatever happens to the network.

use super::node::Node;
use super::{NodeId, World, journal};
use ramson_core::router::Router;
use ramson_core::router::output::Wake;
use ramson_core::time::Instant;
use ramson_core::tunnel::select::Group;
use ramson_core::tunnel::{PoolId, TunnelInfo};
use ramson_core::wire::hash::Hash;
use std::collections::BTreeMap;
use std::fmt;

/// With at most so many nodes the collections of each are looked at after each step of it; ...
const SMALL: usize = 64;
/// ... else after one step of so many.
const SELDOM: u32 = 64;

/// What of a router a step of the wall clock leaves as it was.
#[derive(PartialEq, Eq)]
pub(super) struct Timers {
    due: Option<(Instant, Wake)>,
    tunnels: Vec<TunnelInfo>,
}

/// The rule that a path breaks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadPath {
    /// Its hops, and how many there may be.
    Length(usize, (usize, usize)),
    /// A router twice, or the one whose tunnel it is.
    Repeated,
    /// Two hops of one subnet.
    SameGroup(Group),
}

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(hops, (min, max)) => write!(f, "{hops} hops instead of {min} to {max}"),
            Self::Repeated => f.write_str("a router is repeated"),
            Self::SameGroup(group) => write!(f, "two hops in {group:?}"),
        }
    }
}

/// The rules of a path: lengths from and to, and the group of each router, unless groups may be shared.
pub(super) fn check_path(
    hops: &[Hash],
    own: Hash,
    lengths: (usize, usize),
    group: impl Fn(&Hash) -> Option<Group>,
) -> Result<(), BadPath> {
    if !(lengths.0..=lengths.1).contains(&hops.len()) {
        return Err(BadPath::Length(hops.len(), lengths));
    }
    for (n, hop) in hops.iter().enumerate() {
        let before = hops.iter().take(n);
        if *hop == own || before.clone().any(|other| other == hop) {
            return Err(BadPath::Repeated);
        }
        if let Some(shared) = group(hop)
            && before.filter_map(&group).any(|other| other == shared)
        {
            return Err(BadPath::SameGroup(shared));
        }
    }
    Ok(())
}

impl World {
    /// Looks at a node that was called and drained.
    ///
    /// # Panics
    /// When a promise is broken.
    pub(super) fn check(&mut self, id: NodeId) {
        if let Some(error) = journal::take_error() {
            panic!("an ERROR was logged: {error}");
        }
        let seldom = self.nodes.len() > SMALL;
        let node = &mut self.nodes[id.0];
        node.checks = node.checks.wrapping_add(1);
        let Some(router) = node.router.as_deref() else { return };
        if !seldom || node.checks.is_multiple_of(SELDOM) {
            check_bounds(router);
        }
        let built = router.tunnels_built();
        if node.built != built {
            node.built = built;
            self.check_paths(id);
        }
    }

    /// The paths of all tunnels of a node, when it has new ones.
    fn check_paths(&mut self, id: NodeId) {
        let node = &self.nodes[id.0];
        let Some(router) = node.router.as_deref() else { return };
        let lifted = node.config.network.allow_local;
        for tunnel in router.tunnels(self.now) {
            let lengths = if tunnel.pool == PoolId::SCOUTS {
                (1, 1)
            } else {
                let shape = router.pool_shape(tunnel.pool).expect("its pool is there");
                let length = usize::from(shape.length);
                (length, length + usize::from(shape.length_variance))
            };
            let group = |hop: &Hash| {
                let node = self.names.get(hop).filter(|_| !lifted)?;
                Some(Group::of(self.nodes[node.0].address.ip()))
            };
            if let Err(why) = check_path(&tunnel.hops, router.hash(), lengths, group) {
                panic!("{why}: {tunnel:?}");
            }
            self.paths += 1;
        }
    }
}

/// # Panics
/// When a collection holds more than it may.
fn check_bounds(router: &Router) {
    router.audit(&mut |bound| assert!(bound.holds(), "{bound}"));
}

impl Node {
    /// What a step of the wall clock must not move.
    pub(super) fn timers(&self, now: Instant) -> Option<Timers> {
        let router = self.router.as_deref()?;
        Some(Timers { due: router.poll_timeout(), tunnels: router.tunnels(now) })
    }
}

impl Timers {
    /// # Panics
    /// When a tunnel lives shorter or longer than before, or something is due at another time. A step
    /// that peers would notice makes the router sign its RouterInfo anew, and plan anew when whom is told:
    /// that may come earlier or later, and with it deadlines are found anew that were too early, as that of
    /// a test that has come back.
    pub(super) fn assert_unmoved(&self, after: &Self, noticed: bool) {
        assert!(self.tunnels == after.tunnels, "tunnels live by the monotonic clock");
        if !noticed {
            assert!(self.due == after.due, "due at {:?} instead of {:?}", after.due, self.due);
        }
    }
}

/// The nodes by the hashes of their routers.
pub(super) type Names = BTreeMap<Hash, NodeId>;

#[cfg(test)]
mod tests {
    use super::*;

    fn due(seconds: u64, wake: Wake) -> Timers {
        let at = Instant::ZERO + std::time::Duration::from_secs(seconds);
        Timers { due: Some((at, wake)), tunnels: Vec::new() }
    }

    #[test]
    #[should_panic(expected = "due at")]
    fn a_small_step_moves_nothing() {
        due(5, Wake::Session).assert_unmoved(&due(4, Wake::Session), false);
    }

    #[test]
    fn each_rule_is_seen() {
        let hash = |n: u8| Hash([n; 32]);
        let group = |hop: &Hash| Some(Group::V4([10, hop.0[0] / 10]));
        let check = |hops: &[u8]| {
            let hops: Vec<Hash> = hops.iter().map(|n| hash(*n)).collect();
            check_path(&hops, hash(1), (2, 3), group)
        };
        assert_eq!(check(&[10, 20]), Ok(()));
        assert_eq!(check(&[10, 20, 30]), Ok(()));
        assert_eq!(check(&[10]), Err(BadPath::Length(1, (2, 3))));
        assert_eq!(check(&[10, 20, 30, 40]), Err(BadPath::Length(4, (2, 3))));
        assert_eq!(check(&[10, 20, 10]), Err(BadPath::Repeated));
        assert_eq!(check(&[10, 1]), Err(BadPath::Repeated));
        assert_eq!(check(&[10, 20, 15]), Err(BadPath::SameGroup(Group::V4([10, 1]))));
        let no_groups = check_path(&[hash(10), hash(15)], hash(1), (2, 2), |_| None);
        assert_eq!(no_groups, Ok(()));
    }
}
