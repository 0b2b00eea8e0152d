//! What a router persisted. Keys and the address book are durable at once; the rest is written
//! soon after, and a crash loses what was not.

use ramson_core::router::input::Stored;
use ramson_core::router::output::StoreKey;
use ramson_core::time::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How long a value that is not precious waits to be written.
const WRITE_DELAY: Duration = Duration::from_secs(2);

type Value = Option<Arc<[u8]>>;

/// The store of one node.
#[derive(Default)]
pub(super) struct Disk {
    durable: BTreeMap<StoreKey, Arc<[u8]>>,
    waiting: VecDeque<(Instant, StoreKey, Value)>,
}

impl Disk {
    pub(super) fn put(&mut self, now: Instant, key: StoreKey, value: Value) {
        self.write_until(now);
        let precious = matches!(
            key,
            StoreKey::RouterKeys | StoreKey::DestinationKeys(_) | StoreKey::AddressBook
        );
        if precious {
            self.write(key, value);
        } else {
            self.waiting.push_back((now + WRITE_DELAY, key, value));
        }
    }

    /// The machine stopped in an orderly way.
    pub(super) fn sync(&mut self) {
        while let Some((_, key, value)) = self.waiting.pop_front() {
            self.write(key, value);
        }
    }

    /// The machine crashed.
    pub(super) fn crash(&mut self, now: Instant) {
        self.write_until(now);
        self.waiting.clear();
    }

    /// What is or will be there.
    pub(super) fn get(&self, key: &StoreKey) -> Option<&[u8]> {
        let waiting = self.waiting.iter().rev().find(|(_, k, _)| k == key);
        match waiting {
            Some((_, _, value)) => value.as_deref(),
            None => self.durable.get(key).map(AsRef::as_ref),
        }
    }

    /// As a runtime hands it to a router that starts.
    pub(super) fn stored(&self) -> Stored {
        let mut stored = Stored::default();
        for (key, value) in &self.durable {
            stored.put(key, value);
        }
        stored
    }

    fn write_until(&mut self, now: Instant) {
        while self.waiting.front().is_some_and(|(at, _, _)| *at <= now) {
            if let Some((_, key, value)) = self.waiting.pop_front() {
                self.write(key, value);
            }
        }
    }

    fn write(&mut self, key: StoreKey, value: Value) {
        match value {
            Some(value) => self.durable.insert(key, value),
            None => self.durable.remove(&key),
        };
    }
}
