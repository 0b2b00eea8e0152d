//! Plain numbers of sessions and bytes.

use crate::wire::i2np::MessageType;

/// Sessions at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Opened by peers.
    pub(crate) inbound: usize,
    /// Opened by us.
    pub(crate) outbound: usize,
    /// Of those that are up, over SSU2.
    pub(crate) ssu2: usize,
    /// Being set up.
    pub(crate) pending: usize,
}

/// Bytes on the wire since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Received from peers.
    pub(crate) received: u64,
    /// Sent to peers.
    pub(crate) sent: u64,
    /// Bytes of the bodies of I2NP messages that were handed to sessions.
    pub(crate) messages: Kinds,
}

/// Bytes by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kinds {
    /// Cells of tunnels, and what goes into their gateways.
    pub(crate) tunnels: u64,
    /// Tunnel builds and their answers.
    pub(crate) builds: u64,
    /// Stores, lookups and their answers.
    pub(crate) netdb: u64,
    /// Garlic and delivery status outside of tunnels, and all else.
    pub(crate) other: u64,
}

impl Kinds {
    pub(super) const fn add(&mut self, kind: MessageType, bytes: usize) {
        let sum = match kind {
            MessageType::TUNNEL_DATA | MessageType::TUNNEL_GATEWAY => &mut self.tunnels,
            MessageType::DATABASE_STORE
            | MessageType::DATABASE_LOOKUP
            | MessageType::DATABASE_SEARCH_REPLY => &mut self.netdb,
            MessageType::TUNNEL_BUILD
            | MessageType::TUNNEL_BUILD_REPLY
            | MessageType::VARIABLE_TUNNEL_BUILD
            | MessageType::VARIABLE_TUNNEL_BUILD_REPLY
            | MessageType::SHORT_TUNNEL_BUILD
            | MessageType::OUTBOUND_TUNNEL_BUILD_REPLY => &mut self.builds,
            _ => &mut self.other,
        };
        *sum += bytes as u64;
    }
}
