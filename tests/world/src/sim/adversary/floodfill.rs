//! Floodfills that do not do their work.

use super::Adversary;
use crate::world::{NodeId, World};
use ramson_core::router::conduct::Conduct;
use ramson_core::time::Instant;
use ramson_core::wire::hash::Hash;
use ramson_core::wire::i2np::{Message, MessageType};

/// A floodfill that is none.
pub(super) struct Deaf;

impl Adversary for Deaf {
    fn begin(&mut self, world: &mut World, nodes: &[NodeId]) {
        for id in nodes {
            world.set_conduct(*id, Box::new(|| Box::new(Self)));
        }
    }
}

impl Conduct for Deaf {
    fn receive(&mut self, _: Instant, _: &Hash, message: Message) -> Option<Message> {
        let netdb =
            matches!(message.kind, MessageType::DATABASE_LOOKUP | MessageType::DATABASE_STORE);
        // What a tunnel or a garlic message brings is inside, and cannot be told from the outside.
        (!netdb && message.kind != MessageType::GARLIC).then_some(message)
    }
}
