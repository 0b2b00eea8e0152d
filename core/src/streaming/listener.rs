//! Ports that accept streams, streams that have not proven themselves, and packets that came
//! before their SYN.

use super::StreamId;
use crate::audit::Audit;
use crate::time::Instant;
use crate::wire::hash::Hash;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

/// Streams of a destination whose peer has not shown yet that it got our reply.
pub(crate) const SYN_BACKLOG: usize = 256;
/// Packets that wait for their SYN, in all and for one stream.
const EARLY_PACKETS: usize = 256;
const EARLY_PER_STREAM: usize = 32;
/// How long they wait.
const EARLY_TIMEOUT: Duration = Duration::from_secs(10);

/// Which ports accept; port 0 stands for those that are not named.
#[derive(Default)]
pub(crate) struct Listeners(BTreeSet<u16>);

impl Listeners {
    /// Accepts at `port` from now on.
    pub(crate) fn open(&mut self, port: u16) {
        self.0.insert(port);
    }

    /// Accepts no longer.
    pub(crate) fn close(&mut self, port: u16) {
        self.0.remove(&port);
    }

    /// True when a stream to `port` is welcome.
    pub(crate) fn accepts(&self, port: u16) -> bool {
        self.0.contains(&port) || self.0.contains(&0)
    }
}

/// The streams that have not proven themselves, oldest first.
#[derive(Default)]
pub(crate) struct Backlog {
    order: VecDeque<(StreamId, Hash)>,
}

impl Backlog {
    /// Adds a stream of `remote`. When full, a place is taken from whoever holds the most: the
    /// oldest of it is returned, to be dropped. `Err`: that is `remote` itself.
    pub(crate) fn push(&mut self, id: StreamId, remote: Hash) -> Result<Option<StreamId>, ()> {
        let mut evicted = None;
        if self.order.len() >= SYN_BACKLOG {
            let mut counts = BTreeMap::<Hash, usize>::new();
            for (_, hash) in &self.order {
                *counts.entry(*hash).or_default() += 1;
            }
            let heaviest = counts.values().copied().max().unwrap_or(0);
            if heaviest > 1 && counts.get(&remote).is_some_and(|own| *own >= heaviest) {
                return Err(());
            }
            let place = self.order.iter().position(|(_, hash)| counts.get(hash) == Some(&heaviest));
            evicted = place.and_then(|place| self.order.remove(place)).map(|(id, _)| id);
        }
        self.order.push_back((id, remote));
        Ok(evicted)
    }

    /// What is held, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        audit.see("streams: not proven", self.order.len(), SYN_BACKLOG);
    }

    /// The stream has proven itself, or is gone.
    pub(crate) fn remove(&mut self, id: StreamId) {
        self.order.retain(|(other, _)| *other != id);
    }
}

/// A packet that waits for its SYN.
pub(crate) struct EarlyPacket {
    /// Who sent it, if that is known.
    pub(crate) from: Option<Hash>,
    /// The packet.
    pub(crate) bytes: Box<[u8]>,
}

/// Packets that wait for their SYN, by the name that their sender has for the stream.
#[derive(Default)]
pub(crate) struct EarlyPackets {
    packets: BTreeMap<u32, Vec<EarlyPacket>>,
    order: VecDeque<(Instant, u32)>,
}

impl EarlyPackets {
    /// What is held, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        let packets = self.packets.values().map(Vec::len).sum();
        audit.see("streams: early packets", packets, EARLY_PACKETS);
        audit.see("streams: order of early packets", self.order.len(), EARLY_PACKETS);
    }

    /// Keeps a packet for a while; drops it when there are too many.
    pub(crate) fn push(&mut self, now: Instant, stream: u32, packet: EarlyPacket) {
        self.expire(now);
        if self.order.len() >= EARLY_PACKETS {
            return;
        }
        let waiting = self.packets.entry(stream).or_default();
        if waiting.len() < EARLY_PER_STREAM {
            waiting.push(packet);
            self.order.push_back((now + EARLY_TIMEOUT, stream));
        }
    }

    /// Gives those of a stream out.
    pub(crate) fn take(&mut self, now: Instant, stream: u32) -> Vec<EarlyPacket> {
        self.expire(now);
        let taken = self.packets.remove(&stream).unwrap_or_default();
        if !taken.is_empty() {
            self.order.retain(|(_, other)| *other != stream);
        }
        taken
    }

    fn expire(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, stream)) = self.order.pop_front()
                && let Some(waiting) = self.packets.get_mut(&stream)
            {
                // One entry in the order is one packet.
                waiting.remove(0);
                if waiting.is_empty() {
                    self.packets.remove(&stream);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_remote_makes_room_and_gets_none() {
        let mut backlog = Backlog::default();
        let flooder = Hash::of(b"flooder");
        for n in 0..SYN_BACKLOG as u32 {
            assert_eq!(backlog.push(StreamId(n), flooder), Ok(None));
        }
        assert_eq!(backlog.push(StreamId(1000), flooder), Err(()));
        assert_eq!(backlog.push(StreamId(1001), Hash::of(b"other")), Ok(Some(StreamId(0))));
        backlog.remove(StreamId(1));
        assert_eq!(backlog.push(StreamId(1002), flooder), Ok(None));
    }

    #[test]
    fn a_flood_of_many_remotes_pushes_the_oldest_out() {
        let mut backlog = Backlog::default();
        for n in 0..SYN_BACKLOG as u32 {
            let _ = backlog.push(StreamId(n), Hash::of(&n.to_be_bytes()));
        }
        assert_eq!(backlog.push(StreamId(1000), Hash::of(b"new")), Ok(Some(StreamId(0))));
    }

    #[test]
    fn early_packets_have_caps_and_expire() {
        let packet = || EarlyPacket { from: None, bytes: Box::new([1]) };
        let mut early = EarlyPackets::default();
        for _ in 0..100 {
            early.push(Instant::ZERO, 1, packet());
        }
        assert_eq!(early.take(Instant::ZERO, 1).len(), EARLY_PER_STREAM);
        for stream in 0..1000 {
            early.push(Instant::ZERO, stream, packet());
        }
        let kept: usize = (0..1000).map(|s| early.take(Instant::ZERO, s).len()).sum();
        assert_eq!(kept, EARLY_PACKETS);
        early.push(Instant::ZERO, 1, packet());
        assert!(early.take(Instant::ZERO + EARLY_TIMEOUT, 1).is_empty());
        assert!(early.order.is_empty() && early.packets.is_empty());
    }
}
