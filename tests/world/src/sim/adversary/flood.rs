//! Stores of what does not exist.

use super::Adversary;
use super::pace::Pace;
use crate::world::{NodeId, World};
use ramson_core::keys::RouterKeys;
use ramson_core::rng::Rng;
use ramson_core::time::UnixTime;
use ramson_core::wire::i2np::Message;
use ramson_core::wire::router_info::RouterInfo;
use std::time::Duration;

/// Floods a floodfill with routers that do not exist. Each is as valid as can be: an identity and keys of
/// its own, a signature of now, an address where anybody might be.
pub(super) struct SybilFlood {
    rng: Rng,
    pace: Pace,
    nodes: Vec<NodeId>,
    sent: usize,
}

impl SybilFlood {
    pub(super) const fn new(rng: Rng, rate: u32) -> Self {
        Self { rng, pace: Pace::new(rate), nodes: Vec::new(), sent: 0 }
    }

    /// The store of one, made after the RouterInfo of a real one.
    fn store(&mut self, model: &RouterInfo, unix: UnixTime) -> Message {
        let keys = RouterKeys::generate(&mut self.rng);
        let mut addresses = model.addresses().to_vec();
        for address in &mut addresses {
            let mut octet = |from, to| self.rng.between(from, to);
            let host = format!("{}.{}.{}.1", octet(20, 99), octet(0, 255), octet(0, 255));
            // As long as it is one of four numbers, there is room for it.
            let _ = address.options.insert("host", &host);
        }
        let options = model.options();
        let info = RouterInfo::build(&keys.identity, unix, &addresses, options, &keys.signing);
        let id = self.rng.below(u64::from(u32::MAX)) as u32;
        super::store(info, id, unix)
    }
}

impl Adversary for SybilFlood {
    fn begin(&mut self, _: &mut World, nodes: &[NodeId]) {
        self.nodes = nodes.to_vec();
    }

    fn act(&mut self, world: &mut World) -> Option<Duration> {
        // The first floodfill there is.
        let floodfill = world.nodes().find(|id| world.floodfill(*id).is_some());
        let Some(to) = floodfill.and_then(|id| Some(world.router(id)?.hash())) else {
            return Some(Pace::TURN);
        };
        for _ in 0..self.pace.due() {
            let node = self.nodes[self.sent % self.nodes.len()];
            self.sent += 1;
            let unix = world.unix(node);
            let Some(model) = world.router(node).map(|r| r.router_info().clone()) else { continue };
            let message = self.store(&model, unix);
            world.embedder(node, |router, now| router.send_message(now, to, message));
        }
        Some(Pace::TURN)
    }
}
