//! TCP connections of no router: who opens one says what goes over it.

use super::pipe::{EndId, Owner};
use super::{Happening, NodeId, World};
use ramson_core::time::Instant;

/// A connection from the machine of a node to the router of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RawId(pub(super) usize);

/// What is to be seen of it from outside.
#[derive(Clone, Debug)]
pub struct Raw {
    pub(super) end: EndId,
    /// Whether it ever opened: nobody answers who is away, and that his kernel refuses says nothing of him.
    pub opened: bool,
    /// Bytes that came back.
    pub received: usize,
    /// When the other side ended it, and whether with a reset.
    pub ended: Option<(Instant, bool)>,
}

impl World {
    /// Connects from the machine of `from` to the NTCP2 address of `to`. What is sent meanwhile goes
    /// when it is open.
    pub fn open_raw(&mut self, from: NodeId, to: NodeId) -> RawId {
        let id = RawId(self.raws.len());
        let latency = self.chance.latency();
        let end = self.new_end(Owner::Raw(id), from, latency);
        self.raws.push(Raw { end, opened: false, received: 0, ended: None });
        self.push(self.now + latency, Happening::Syn { from: end, to, tries: 0 });
        id
    }

    /// Sends any bytes.
    pub fn send_raw(&mut self, id: RawId, bytes: &[u8]) {
        self.send_local(self.raws[id.0].end, bytes);
    }

    /// What came of a connection so far.
    #[must_use]
    pub fn raw(&self, id: RawId) -> &Raw {
        &self.raws[id.0]
    }

    /// Resets a connection.
    pub fn reset_raw(&mut self, id: RawId) {
        self.cut(self.raws[id.0].end, true);
    }
}
