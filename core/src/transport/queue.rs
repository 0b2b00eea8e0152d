//! What waits to be sent in one session: three priorities, bounded in number, bytes and age; others'
//! tunnels in turns.

use crate::audit::Audit;
use crate::time::{Instant, UnixTime};
use crate::wire::i2np::{MAX_BODY_LEN, Message, MessageType};
use crate::wire::ntcp2::message_block_len;
use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

/// Messages that wait at most.
pub const MAX_MESSAGES: usize = 500;
/// Bytes that wait at most, block headers included.
pub const MAX_BYTES: usize = 512 * 1024;

/// How long a message may wait before it is worth nothing to its receiver.
const CONTROL_LIFETIME: Duration = Duration::from_secs(8);
const OWN_LIFETIME: Duration = Duration::from_secs(2);
const TRANSIT_LIFETIME: Duration = Duration::from_secs(4);

/// A message this long past its expiration is still taken by its receiver: who made it has a clock
/// of its own.
const MAX_LATE: Duration = Duration::from_secs(60);

/// Messages of our own traffic that go before one of others' when both wait.
const OWN_SHARE: u8 = 3;

/// Who is served first, and who is dropped first (in the opposite order).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Traffic of others' tunnels.
    Transit,
    /// Traffic of our own tunnels.
    Own,
    /// Tunnel builds and the network database: few, and everything else depends on them.
    Control,
}

/// Why a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Full {
    /// The queue is full of messages that matter more.
    #[error("send queue full")]
    Queue,
    /// The body is larger than any router takes ([`MAX_BODY_LEN`]). The caller's mistake.
    #[error("I2NP message too large")]
    TooLarge,
    /// The session is over.
    #[error("session closed")]
    Closed,
}

struct Waiting {
    since: Instant,
    message: Message,
}

/// Messages of one priority, by tunnel.
///
/// Tunnels take turns, and when something has to go it is the oldest of the one that has most: who
/// fills the queue waits and loses by that, and not those beside it.
#[derive(Default)]
struct Lane {
    tunnels: BTreeMap<u32, VecDeque<Waiting>>,
    /// Those that have something, the next one first.
    turns: VecDeque<u32>,
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    fn push(&mut self, tunnel: u32, waiting: Waiting) {
        let queue = self.tunnels.entry(tunnel).or_default();
        if queue.is_empty() {
            self.turns.push_back(tunnel);
        }
        queue.push_back(waiting);
    }

    fn first(&self) -> Option<&Waiting> {
        self.tunnels.get(self.turns.front()?)?.front()
    }

    fn pop(&mut self) -> Option<Waiting> {
        let tunnel = self.turns.pop_front()?;
        let taken = self.take(tunnel);
        if self.tunnels.contains_key(&tunnel) {
            self.turns.push_back(tunnel);
        }
        taken
    }

    /// Takes the oldest of the tunnel that has most.
    fn pop_most(&mut self) -> Option<Waiting> {
        let tunnel = *self.tunnels.iter().max_by_key(|(_, queue)| queue.len())?.0;
        let taken = self.take(tunnel);
        if !self.tunnels.contains_key(&tunnel) {
            self.turns.retain(|turn| *turn != tunnel);
        }
        taken
    }

    fn take(&mut self, tunnel: u32) -> Option<Waiting> {
        let queue = self.tunnels.get_mut(&tunnel)?;
        let taken = queue.pop_front();
        if queue.is_empty() {
            self.tunnels.remove(&tunnel);
        }
        taken
    }
}

/// The tunnel that a message of others belongs to, as far as its next hop's number tells; 0 for all
/// else. Both kinds begin with that number.
fn tunnel_of(message: &Message, priority: Priority) -> u32 {
    let is_cell = matches!(message.kind, MessageType::TUNNEL_DATA | MessageType::TUNNEL_GATEWAY);
    match message.body.first_chunk() {
        Some(id) if is_cell && priority == Priority::Transit => u32::from_be_bytes(*id),
        Some(_) | None => 0,
    }
}

/// The queue.
#[derive(Default)]
pub(super) struct SendQueue {
    control: Lane,
    own: Lane,
    transit: Lane,
    messages: usize,
    bytes: usize,
    /// Messages of our own taken since the last one of others.
    own_run: u8,
    /// Ages count from here at the earliest: when the handshake was done.
    ready: Instant,
    dropped: u64,
}

impl SendQueue {
    /// Messages that wait.
    pub(super) const fn len(&self) -> usize {
        self.messages
    }

    /// What is held, and what may be.
    pub(super) fn audit(&self, audit: &mut Audit<'_>) {
        audit.see("session: messages", self.messages, MAX_MESSAGES);
        audit.see("session: bytes of messages", self.bytes, MAX_BYTES);
        for lane in [&self.control, &self.own, &self.transit] {
            audit.see("session: tunnels with messages", lane.tunnels.len(), self.messages);
            audit.see("session: turns of tunnels", lane.turns.len(), lane.tunnels.len());
        }
    }

    /// Bytes that wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages dropped, for age or for want of room.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The session can send from now on; what waited for it does not count as age.
    pub(super) const fn set_ready(&mut self, now: Instant) {
        self.ready = now;
    }

    /// Queues a message, dropping the oldest of the lowest priority if there is no room.
    pub(super) fn push(
        &mut self,
        now: Instant,
        message: Message,
        priority: Priority,
    ) -> Result<(), Full> {
        if message.body.len() > MAX_BODY_LEN {
            return Err(Full::TooLarge);
        }
        let len = message_block_len(&message);
        while self.messages >= MAX_MESSAGES || self.bytes + len > MAX_BYTES {
            if !self.drop_one(priority) {
                self.dropped += 1;
                return Err(Full::Queue);
            }
        }
        self.messages += 1;
        self.bytes += len;
        let tunnel = tunnel_of(&message, priority);
        self.lane(priority).push(tunnel, Waiting { since: now, message });
        Ok(())
    }

    /// Bytes of the block that [`Self::pop`] would take, after dropping what is too old.
    pub(super) fn peek_len(&mut self, now: Instant, unix: UnixTime) -> Option<usize> {
        for priority in [Priority::Control, Priority::Own, Priority::Transit] {
            self.expire(now, unix, priority);
        }
        let lane = self.next()?;
        self.lane(lane).first().map(|w| message_block_len(&w.message))
    }

    /// The next message to send. Call after [`Self::peek_len`], which looks at the ages.
    pub(super) fn pop(&mut self) -> Option<Message> {
        let lane = self.next()?;
        self.own_run = match lane {
            Priority::Own => self.own_run.saturating_add(1),
            Priority::Transit => 0,
            Priority::Control => self.own_run,
        };
        self.take(lane)
    }

    /// Takes the next message with its priority, for another queue: those that matter most first, whatever their age.
    pub(super) fn take_first(&mut self) -> Option<(Message, Priority)> {
        let all = [Priority::Control, Priority::Own, Priority::Transit];
        let priority = all.into_iter().find(|priority| !self.lane(*priority).is_empty())?;
        Some((self.take(priority)?, priority))
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        let (dropped, ready) = (self.dropped + self.messages as u64, self.ready);
        *self = Self { dropped, ready, ..Self::default() };
    }

    /// Control first; others' traffic gets its share beside ours.
    fn next(&self) -> Option<Priority> {
        let waits = |lane: &Lane| !lane.is_empty();
        if waits(&self.control) {
            Some(Priority::Control)
        } else if waits(&self.own) && (self.own_run < OWN_SHARE || !waits(&self.transit)) {
            Some(Priority::Own)
        } else {
            waits(&self.transit).then_some(Priority::Transit)
        }
    }

    const fn lane(&mut self, priority: Priority) -> &mut Lane {
        match priority {
            Priority::Control => &mut self.control,
            Priority::Own => &mut self.own,
            Priority::Transit => &mut self.transit,
        }
    }

    fn take(&mut self, priority: Priority) -> Option<Message> {
        let taken = self.lane(priority).pop();
        self.account(taken)
    }

    fn account(&mut self, taken: Option<Waiting>) -> Option<Message> {
        let Waiting { message, .. } = taken?;
        self.messages -= 1;
        self.bytes -= message_block_len(&message);
        Some(message)
    }

    /// Makes room for a message of `priority`; false when all that waits matters more.
    fn drop_one(&mut self, priority: Priority) -> bool {
        let lowest = [Priority::Transit, Priority::Own, Priority::Control]
            .into_iter()
            .filter(|p| *p <= priority)
            .find(|p| !self.lane(*p).is_empty());
        let Some(lowest) = lowest else { return false };
        self.dropped += 1;
        let taken = self.lane(lowest).pop_most();
        self.account(taken).is_some()
    }

    /// Drops from the front of a lane what waited too long, or what its receiver would drop. Within
    /// a tunnel ages only fall towards the back, so the first young one ends the search, and what is
    /// too old in others is found when it is their turn.
    fn expire(&mut self, now: Instant, unix: UnixTime, priority: Priority) {
        let lifetime = match priority {
            Priority::Control => CONTROL_LIFETIME,
            Priority::Own => OWN_LIFETIME,
            Priority::Transit => TRANSIT_LIFETIME,
        };
        let ready = self.ready;
        while let Some(first) = self.lane(priority).first() {
            let age = now.saturating_since(first.since.max(ready));
            if age <= lifetime && first.message.expires + MAX_LATE >= unix {
                break;
            }
            self.take(priority);
            self.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::i2np::MessageType;
    use alloc::vec::Vec;

    const UNIX: UnixTime = UnixTime::from_secs(1_000);

    fn message(id: u32, len: usize) -> Message {
        let expires = UNIX + Duration::from_secs(60);
        Message { kind: MessageType::DATA, id, expires, body: alloc::vec![0; len] }
    }

    fn drain(queue: &mut SendQueue, now: Instant) -> Vec<u32> {
        let mut ids = Vec::new();
        while queue.peek_len(now, UNIX).is_some() {
            ids.push(queue.pop().unwrap().id);
        }
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
        ids
    }

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn control_goes_first_and_transit_gets_its_share() {
        let mut queue = SendQueue::default();
        for id in 0..3 {
            queue.push(at(0), message(30 + id, 10), Priority::Transit).unwrap();
        }
        for id in 0..7 {
            queue.push(at(0), message(20 + id, 10), Priority::Own).unwrap();
        }
        queue.push(at(0), message(10, 10), Priority::Control).unwrap();
        let ids = drain(&mut queue, at(0));
        assert_eq!(ids, [10, 20, 21, 22, 30, 23, 24, 25, 31, 26, 32]);
    }

    #[test]
    fn when_full_the_oldest_of_the_lowest_priority_goes() {
        let mut queue = SendQueue::default();
        queue.push(at(0), message(1, 10), Priority::Own).unwrap();
        for id in 2..=MAX_MESSAGES as u32 {
            queue.push(at(0), message(id, 10), Priority::Transit).unwrap();
        }
        queue.push(at(0), message(1000, 10), Priority::Transit).unwrap();
        queue.push(at(0), message(1001, 10), Priority::Own).unwrap();
        queue.push(at(0), message(1002, 10), Priority::Control).unwrap();
        assert_eq!((queue.len(), queue.dropped()), (MAX_MESSAGES, 3));
        let mut ids = drain(&mut queue, at(0));
        assert_eq!(ids[..4], [1002, 1, 1001, 5]);
        ids.sort_unstable();
        assert_eq!(ids.iter().filter(|id| **id < 1000).count(), MAX_MESSAGES - 3);
    }

    /// A cell of a tunnel.
    fn cell(id: u32, tunnel: u32) -> Message {
        let mut body = alloc::vec![0; 1028];
        body[..4].copy_from_slice(&tunnel.to_be_bytes());
        Message { kind: MessageType::TUNNEL_DATA, body, ..message(id, 0) }
    }

    #[test]
    fn tunnels_take_turns_and_keep_their_order() {
        let mut queue = SendQueue::default();
        for (id, tunnel) in [(10, 1), (11, 1), (12, 1), (20, 2), (21, 2), (30, 3)] {
            queue.push(at(0), cell(id, tunnel), Priority::Transit).unwrap();
        }
        assert_eq!(drain(&mut queue, at(0)), [10, 20, 30, 11, 21, 12]);
        // Our own are one flow, in the order in which they came.
        for (id, tunnel) in [(10, 1), (11, 1), (20, 2)] {
            queue.push(at(0), cell(id, tunnel), Priority::Own).unwrap();
        }
        assert_eq!(drain(&mut queue, at(0)), [10, 11, 20]);
    }

    #[test]
    fn a_tunnel_that_floods_loses_its_own_cells_and_no_others() {
        let mut queue = SendQueue::default();
        for id in 0..10 {
            queue.push(at(0), cell(id, 1), Priority::Transit).unwrap();
        }
        for id in 10..5_000 {
            queue.push(at(0), cell(id, 2), Priority::Transit).unwrap();
        }
        assert_eq!(queue.dropped(), 5_000 - queue.len() as u64);
        let ids = drain(&mut queue, at(0));
        assert_eq!(ids.iter().filter(|id| **id < 10).count(), 10, "all of the small one");
        assert!(ids[..20].iter().filter(|id| **id < 10).count() == 10, "and they do not wait");
        assert_eq!(ids.last(), Some(&4_999));
    }

    #[test]
    fn old_cells_of_any_tunnel_are_dropped_when_it_is_their_turn() {
        let mut queue = SendQueue::default();
        queue.push(at(0), cell(1, 1), Priority::Transit).unwrap();
        queue.push(at(3), cell(2, 2), Priority::Transit).unwrap();
        queue.push(at(0), cell(3, 3), Priority::Transit).unwrap();
        assert_eq!(drain(&mut queue, at(5)), [2]);
        assert_eq!(queue.dropped(), 2);
    }

    #[test]
    fn a_message_that_matters_less_than_all_others_is_refused() {
        let mut queue = SendQueue::default();
        for id in 0..MAX_MESSAGES as u32 {
            queue.push(at(0), message(id, 10), Priority::Control).unwrap();
        }
        assert_eq!(queue.push(at(0), message(1, 10), Priority::Own), Err(Full::Queue));
        assert_eq!(queue.push(at(0), message(1000, 10), Priority::Control), Ok(()));
        assert_eq!(queue.len(), MAX_MESSAGES);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut queue = SendQueue::default();
        for id in 0..100 {
            queue.push(at(0), message(id, MAX_BODY_LEN), Priority::Transit).unwrap();
            assert!(queue.bytes() <= MAX_BYTES);
        }
        assert_eq!(queue.len(), MAX_BYTES / (MAX_BODY_LEN + 12));
        let too_large = message(0, MAX_BODY_LEN + 1);
        assert_eq!(queue.push(at(0), too_large, Priority::Control), Err(Full::TooLarge));
    }

    #[test]
    fn what_waited_too_long_is_dropped_by_priority() {
        let lanes = [Priority::Control, Priority::Own, Priority::Transit];
        for (secs, left) in [(2, &[0, 1, 2][..]), (3, &[0, 2]), (4, &[0, 2]), (5, &[0]), (9, &[])] {
            let mut queue = SendQueue::default();
            for (id, lane) in lanes.into_iter().enumerate() {
                queue.push(at(0), message(id as u32, 10), lane).unwrap();
            }
            assert_eq!(drain(&mut queue, at(secs)), left);
            assert_eq!(queue.dropped(), 3 - left.len() as u64);
        }
    }

    #[test]
    fn the_handshake_does_not_count_as_waiting() {
        let mut queue = SendQueue::default();
        queue.push(at(0), message(1, 10), Priority::Own).unwrap();
        queue.set_ready(at(9));
        assert_eq!(drain(&mut queue, at(11)), [1]);
    }

    #[test]
    fn what_its_receiver_would_drop_is_not_sent() {
        let mut queue = SendQueue::default();
        for (id, late) in [(1, 61), (2, 30)] {
            let expires = UNIX - Duration::from_secs(late);
            queue.push(at(0), Message { expires, ..message(id, 10) }, Priority::Own).unwrap();
        }
        queue.push(at(0), message(3, 10), Priority::Own).unwrap();
        assert_eq!(drain(&mut queue, at(0)), [2, 3]);
    }
}
