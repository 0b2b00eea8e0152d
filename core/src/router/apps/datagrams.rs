//! Datagrams of the embedder's destinations: those that arrived and were not taken, and those that
//! wait for a way to their recipient.

use super::Apps;
use super::app::App;
use super::embedded::News;
use crate::audit::Audit;
use crate::client::Target;
use crate::datagram;
use crate::router::embed::{AppDatagram, DatagramKind, DestinationId, Ports, SendError};
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use crate::wire::mapping::Mapping;
use crate::wire::payload::Payload;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

/// Datagrams that wait in one direction of a destination, and their bytes; the oldest are dropped.
const MAX_WAITING: usize = 256;
const MAX_BYTES: usize = 1024 * 1024;
/// A datagram for which there is no way by then is not sent.
const PATIENCE: Duration = Duration::from_secs(60);

/// What arrived and was not taken.
#[derive(Default)]
pub(super) struct Inbox(Queue<AppDatagram>);

/// What waits to be sent, each with its recipient and since when.
#[derive(Default)]
pub(super) struct Outbox(Queue<(Instant, Hash, Payload)>);

/// A queue with a bound, which drops the oldest.
struct Queue<T> {
    items: VecDeque<(usize, T)>,
    bytes: usize,
    dropped: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), bytes: 0, dropped: 0 }
    }
}

impl<T> Queue<T> {
    fn push(&mut self, bytes: usize, item: T) {
        while self.items.len() >= MAX_WAITING || self.bytes + bytes > MAX_BYTES {
            if self.pop().is_none() {
                break;
            }
            self.dropped += 1;
        }
        self.bytes += bytes;
        self.items.push_back((bytes, item));
    }

    fn pop(&mut self) -> Option<T> {
        let (bytes, item) = self.items.pop_front()?;
        self.bytes = self.bytes.saturating_sub(bytes);
        Some(item)
    }

    /// What is held, and what may be.
    fn audit(&self, audit: &mut Audit<'_>) {
        audit.see("embedded: datagrams", self.items.len(), MAX_WAITING);
        audit.see("embedded: bytes of datagrams", self.bytes, MAX_BYTES);
    }
}

impl Inbox {
    pub(super) fn audit(&self, audit: &mut Audit<'_>) {
        self.0.audit(audit);
    }

    pub(super) const fn bytes(&self) -> usize {
        self.0.bytes
    }

    pub(super) const fn dropped(&self) -> u64 {
        self.0.dropped
    }
}

impl Outbox {
    pub(super) fn audit(&self, audit: &mut Audit<'_>) {
        self.0.audit(audit);
    }

    pub(super) const fn bytes(&self) -> usize {
        self.0.bytes
    }

    pub(super) const fn dropped(&self) -> u64 {
        self.0.dropped
    }
}

impl Apps {
    /// Something that is no stream came to a destination.
    pub(super) fn handle_datagram(&mut self, unix: UnixTime, index: usize, payload: &Payload) {
        let Some(app) = self.apps.get_mut(&index) else { return };
        let local = app.destination.identity().hash();
        let Some((embedded, kind)) = app.embedded_mut().zip(DatagramKind::of(payload.protocol))
        else {
            log::debug!("payload of protocol {:?} dropped", payload.protocol);
            return;
        };
        let received = match datagram::receive(payload.protocol, &payload.data, &local, unix) {
            Ok(received) => received,
            Err(e) => {
                log::debug!("datagram dropped: {e}");
                return;
            }
        };
        let ports = Ports { local: payload.to_port, remote: payload.from_port };
        let item =
            AppDatagram { kind, from: received.from, ports, payload: received.payload.to_vec() };
        let first = embedded.inbox.0.items.is_empty();
        embedded.inbox.0.push(payload.data.len(), item);
        if first && !core::mem::replace(&mut embedded.telling_datagrams, true) {
            self.news.push_back(News::Datagrams(index));
        }
    }

    pub(in crate::router) fn receive_datagram(&mut self, id: DestinationId) -> Option<AppDatagram> {
        self.own_mut(id)?.embedded_mut()?.inbox.0.pop()
    }

    pub(in crate::router) fn send_datagram(
        &mut self,
        now: Instant,
        from: DestinationId,
        to: &Target,
        ports: Ports,
        kind: DatagramKind,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let stopping = self.stopping;
        let resolved = self.book.resolve(to);
        let embedded = self.own_mut(from).filter(|_| !stopping).and_then(App::embedded_mut);
        let embedded = embedded.ok_or(SendError::Closed)?;
        let (hash, _) = resolved.ok_or(SendError::UnknownName)?;
        let mut data = Vec::new();
        let protocol = kind.protocol();
        embedded.signer.encode(protocol, &hash, &Mapping::new(), payload, &mut data)?;
        let payload = Payload { from_port: ports.local, to_port: ports.remote, protocol, data };
        embedded.outbox.0.push(payload.data.len(), (now, hash, payload));
        Ok(())
    }
}

impl App {
    /// Sends the datagrams whose recipients can be reached. Only one of each waits in the
    /// destination, where streams' packets wait too.
    pub(super) fn send_datagrams(&mut self, now: Instant, unix: UnixTime) -> bool {
        let ready = self.destination.is_ready();
        let Some(embedded) = self.embedded_mut().filter(|e| e.outbox.bytes() > 0) else {
            return false;
        };
        let mut waiting = core::mem::take(&mut embedded.outbox.0.items);
        let mut any = false;
        let mut dropped = 0;
        let mut left = VecDeque::new();
        while let Some((bytes, (since, to, payload))) = waiting.pop_front() {
            if now.saturating_since(since) >= PATIENCE {
                dropped += 1;
            } else if !ready || self.destination.is_congested(&to) {
                left.push_back((bytes, (since, to, payload)));
            } else {
                self.destination.send(now, unix, to, payload, false);
                any = true;
            }
        }
        if let Some(embedded) = self.embedded_mut() {
            embedded.outbox.0.bytes = left.iter().map(|(bytes, _)| bytes).sum();
            embedded.outbox.0.items = left;
            embedded.outbox.0.dropped += dropped;
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room_by_number_and_by_size() {
        let mut queue = Queue::default();
        for n in 0..MAX_WAITING + 3 {
            queue.push(1, n);
        }
        assert_eq!((queue.items.len(), queue.bytes, queue.dropped), (MAX_WAITING, MAX_WAITING, 3));
        assert_eq!(queue.pop(), Some(3));
        queue.push(MAX_BYTES, 1000);
        assert_eq!((queue.items.len(), queue.bytes), (1, MAX_BYTES));
        assert_eq!(queue.dropped, 3 + MAX_WAITING as u64 - 1);
    }
}
