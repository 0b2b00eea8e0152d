//! In which order the queue of a session lets messages go.

use ramson_core::transport::queue::Priority;
use ramson_core::wire::i2np::{Message, MessageType};
use std::collections::BTreeMap;

/// Messages of our own that go before one of others' when both wait.
const OWN_SHARE: usize = 3;

/// A message that was queued.
pub(super) struct Sent {
    pub(super) message: Message,
    pub(super) priority: Priority,
    /// Messages that had left when it was queued.
    pub(super) before: u64,
    /// The turn in which it was queued.
    pub(super) turn: usize,
}

/// The turn in which a message went into a frame, and how many had been dropped before and after it.
#[derive(Clone, Copy)]
pub(super) struct Left {
    pub(super) turn: usize,
    pub(super) dropped: (u64, u64),
}

/// Priorities, turns of tunnels, and the order within each, on what arrived.
pub(super) fn check_order(got: &[usize], sent: &[Sent], left: &[Left]) {
    let lane = |id: usize| {
        let Sent { priority, message, .. } = &sent[id];
        let cell = message.kind == MessageType::TUNNEL_DATA;
        (*priority, message.body.get(3).filter(|_| cell).copied())
    };
    // From the back: in which turn was queued what of each lane came next.
    let mut next: BTreeMap<(Priority, Option<u8>), usize> = BTreeMap::new();
    let mut waiting: Vec<_> = Vec::new();
    for id in got.iter().rev() {
        waiting.push(next.clone());
        next.insert(lane(*id), sent[*id].turn);
    }
    waiting.reverse();
    let mut last = BTreeMap::new();
    let (mut own_run, mut transit_before) = (0, None);
    for (n, (id, later)) in got.iter().zip(&waiting).enumerate() {
        let Left { turn, dropped } = left[n];
        let lane = lane(*id);
        // Whether one of `priority` came later that had been there in that turn.
        let waits = |priority: Priority, turn: usize| {
            later.iter().any(|(l, queued)| l.0 == priority && *l != lane && *queued < turn)
        };
        assert!(sent[*id].before <= n as u64, "left before it was queued");
        assert!(last.insert(lane, *id).is_none_or(|before| before < *id), "order, or twice");
        if lane.0 == Priority::Control {
            continue;
        }
        assert!(!waits(Priority::Control, turn), "control had to wait");
        if lane.0 == Priority::Own {
            own_run += 1;
            let too_many = own_run > OWN_SHARE && waits(Priority::Transit, turn);
            assert!(!too_many, "others had to wait for too long");
            transit_before = None;
            continue;
        }
        own_run = 0;
        let before: Option<(_, Left)> = transit_before.replace((lane, left[n]));
        assert!(before.is_none() || !waits(Priority::Own, turn), "ours had to wait");
        // Tunnels take turns; what is dropped for its age takes one too.
        if let Some((_, before)) = before.filter(|(l, _)| *l == lane)
            && before.dropped.0 == dropped.1
        {
            assert!(!waits(Priority::Transit, before.turn), "a tunnel missed its turn");
        }
    }
}
