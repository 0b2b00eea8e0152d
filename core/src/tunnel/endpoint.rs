//! Cells into messages, at the end of a tunnel.

use super::fragment::{Budget, Caps, Piece, Reassembly};
use crate::audit::Audit;
use crate::time::Instant;
use crate::wire::codec::DecodeError;
use crate::wire::tunnel::{Delivery, Fragments, Instructions, open_payload};

/// Where a tunnel ends: ours (inbound) or somebody else's (outbound endpoint).
pub(crate) struct Endpoint {
    reassembly: Reassembly,
}

impl Endpoint {
    pub(crate) const fn new(caps: Caps) -> Self {
        Self { reassembly: Reassembly::new(caps) }
    }

    /// Takes a decrypted cell and hands each message that is whole, with its 16-byte header, to
    /// `deliver`. An error means that the cell, or its rest, is no valid cell; messages before
    /// the error were delivered.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        cell: &[u8],
        budget: &mut Budget,
        mut deliver: impl FnMut(Delivery, &[u8]),
    ) -> Result<(), DecodeError> {
        for fragment in Fragments::new(open_payload(cell)?) {
            let (instructions, data) = fragment?;
            let piece = match instructions {
                Instructions::First { delivery, fragmented: None } => {
                    deliver(delivery, data);
                    continue;
                }
                Instructions::First { delivery, fragmented: Some(message) } => {
                    Piece { message, number: 0, delivery: Some(delivery), last: false, data }
                }
                Instructions::FollowOn { message, number, last } => {
                    Piece { message, number, delivery: None, last, data }
                }
            };
            if let Some((delivery, message)) = self.reassembly.add(now, &piece, budget) {
                deliver(delivery, &message);
            }
        }
        Ok(())
    }

    /// What is held, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        self.reassembly.audit(audit);
    }

    /// Gives up fragments that wait for too long.
    pub(crate) fn expire(&mut self, now: Instant, budget: &mut Budget) {
        self.reassembly.expire(now, budget);
    }

    /// The tunnel is gone.
    pub(crate) fn clear(&mut self, budget: &mut Budget) {
        self.reassembly.clear(budget);
    }
}

/// The messages of decrypted cells, for tests of both ends.
#[cfg(test)]
pub(crate) fn test_messages(
    now: Instant,
    cells: &[alloc::vec::Vec<u8>],
) -> alloc::vec::Vec<(Delivery, alloc::vec::Vec<u8>)> {
    let (mut endpoint, mut budget) = (Endpoint::new(Caps::OWN), Budget::default());
    let mut messages = alloc::vec::Vec::new();
    for cell in cells {
        endpoint.handle(now, cell, &mut budget, |d, m| messages.push((d, m.to_vec()))).unwrap();
    }
    assert_eq!(budget.used(), 0, "nothing is left unfinished");
    messages
}
