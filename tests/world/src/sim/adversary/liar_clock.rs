//! Routers with wrong clocks, which date what they publish and send.

use super::Adversary;
use crate::world::{NodeId, World};
use std::time::Duration;

/// Half of them are ahead, half behind, each by another time.
pub(super) struct LiarClock {
    most: Duration,
}

/// The least that one is wrong by: less is allowed to everybody.
const LEAST: Duration = Duration::from_secs(120);

impl LiarClock {
    pub(super) const fn new(most: Duration) -> Self {
        Self { most }
    }
}

impl Adversary for LiarClock {
    fn begin(&mut self, world: &mut World, nodes: &[NodeId]) {
        for (n, id) in nodes.iter().enumerate() {
            let wrong = (self.most * (n as u32 + 1) / nodes.len() as u32).max(LEAST);
            let seconds = wrong.as_secs() as i64;
            world.step_clock(*id, if n % 2 == 0 { seconds } else { -seconds });
        }
    }
}
