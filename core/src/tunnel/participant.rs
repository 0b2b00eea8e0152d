//! One tunnel of somebody else that we are a hop of.

use super::endpoint::Endpoint;
use super::fragment::{Budget, Caps};
use super::gateway::Gateway;
use super::layer::{Layer, LayerKeys};
use crate::time::Instant;
use crate::wire::hash::Hash;
use crate::wire::tunnel::Role;
use alloc::boxed::Box;
use core::time::Duration;

/// After this without a cell the expanded keys, the larger part of a tunnel, are dropped.
const IDLE: Duration = Duration::from_secs(60);

/// A hop of somebody else's tunnel. Small until the first cell comes: most never carry one.
pub(crate) struct Participant {
    /// Where cells go next. Unused by an endpoint.
    pub(crate) next: Hash,
    /// The id that the next hop knows.
    pub(crate) next_tunnel: u32,
    pub(crate) end: End,
    keys: LayerKeys,
    layer: Option<Box<Layer>>,
    used: Instant,
}

/// What we are in the tunnel.
pub(crate) enum End {
    /// First hop of an inbound tunnel.
    Gateway(Gateway),
    /// In the middle.
    None,
    /// Last hop of an outbound tunnel.
    Endpoint(Box<Endpoint>),
}

impl Participant {
    /// A tunnel that was just accepted.
    pub(crate) fn new(
        now: Instant,
        next: Hash,
        next_tunnel: u32,
        role: Role,
        keys: LayerKeys,
    ) -> Self {
        let end = match role {
            Role::Gateway => End::Gateway(Gateway::default()),
            Role::Participant => End::None,
            Role::Endpoint => End::Endpoint(Box::new(Endpoint::new(Caps::TRANSIT))),
        };
        Self { next, next_tunnel, end, keys, layer: None, used: now }
    }

    /// Makes [`Self::layer`] ready for a cell. Without a time, the idle clock is left alone.
    pub(crate) fn ready(&mut self, now: Option<Instant>) {
        self.used = now.unwrap_or(self.used);
        self.layer.get_or_insert_with(|| Box::new(Layer::new(&self.keys)));
    }

    /// This hop's part on a cell; there after [`Self::ready`].
    pub(crate) fn layer(&self) -> Option<&Layer> {
        self.layer.as_deref()
    }

    /// Housekeeping: forgets what idle tunnels do not need.
    pub(crate) fn tidy(&mut self, now: Instant, budget: &mut Budget) {
        if now.saturating_since(self.used) >= IDLE {
            self.layer = None;
        }
        if let End::Endpoint(endpoint) = &mut self.end {
            endpoint.expire(now, budget);
        }
    }

    /// The tunnel ends: gives back what it holds.
    pub(crate) fn clear(&mut self, budget: &mut Budget) {
        if let End::Endpoint(endpoint) = &mut self.end {
            endpoint.clear(budget);
        }
    }

    /// Bytes this tunnel takes when it carries nothing.
    pub(crate) const IDLE_BYTES: usize = size_of::<Self>() + size_of::<Endpoint>();
}

const _: () = assert!(Participant::IDLE_BYTES <= 1024, "the budget of an idle transit tunnel");
