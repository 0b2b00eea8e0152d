//! A thread that writes what may be lost, so that the loop never waits for a disk.

use super::{Store, StoreError};
use crate::clock;
use log::{debug, warn};
use ramson_core::router::output::StoreKey;
use ramson_core::time::Instant;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Writes that may wait. When full, the newest is dropped: it is a copy of what the router has in
/// memory and persists again when it changes.
const MAX_QUEUED: usize = 8192;
/// A full disk is told this often.
const COMPLAIN: Duration = Duration::from_mins(1);

type Write = (StoreKey, Option<Arc<[u8]>>);

/// Handle of the thread. Dropping it finishes what is queued first.
pub(crate) struct Writer {
    queue: Option<SyncSender<Write>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(store: Store) -> io::Result<Self> {
        let (queue, writes) = sync_channel(MAX_QUEUED);
        let thread = std::thread::Builder::new()
            .name("ramson-store".into())
            .spawn(move || run(&store, &writes))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Queues a write; they happen in order.
    pub(crate) fn write(&self, key: StoreKey, value: Option<Arc<[u8]>>) {
        let Some(queue) = &self.queue else { return };
        match queue.try_send((key, value)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => debug!("the disk is too slow: a write was dropped"),
            Err(TrySendError::Disconnected(_)) => warn!("the store's thread is gone"),
        }
    }

    /// Lets the thread end by itself, without waiting: for a stop at once.
    pub(crate) fn abandon(mut self) {
        self.thread = None;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It panicked if this fails, and the panic was logged.
            let _ = thread.join();
        }
    }
}

fn run(store: &Store, writes: &Receiver<Write>) {
    let mut complaints = Complaints::default();
    while let Ok((key, value)) = writes.recv() {
        if let Err(e) = store.write(&key, value.as_deref()) {
            complaints.add(clock::now(), &e);
        }
    }
}

/// Keeps a full disk from filling the log.
#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
    since: u32,
}

impl Complaints {
    fn add(&mut self, now: Instant, error: &StoreError) {
        if self.last.is_some_and(|last| now.saturating_since(last) < COMPLAIN) {
            self.since = self.since.saturating_add(1);
            return;
        }
        warn!("{}; {} more since the last such message", error.discreet(), self.since);
        debug!("{error}");
        *self = Self { last: Some(now), since: 0 };
    }
}
