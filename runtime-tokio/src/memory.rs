//! A store that lasts as long as the process.

use crate::Host;
use ramson_core::router::input::Stored;
use ramson_core::router::output::{Event, StoreKey};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Keeps everything in memory; clones are the same store. A program that wants its router to be the
/// same next time reads it when that matters, or has a [`Host`] of its own.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<BTreeMap<StoreKey, Arc<[u8]>>>>);

impl Memory {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<StoreKey, Arc<[u8]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept under a key.
    #[must_use]
    pub fn get(&self, key: &StoreKey) -> Option<Arc<[u8]>> {
        self.lock().get(key).cloned()
    }

    /// All of it, for the next start.
    #[must_use]
    pub fn stored(&self) -> Stored {
        let mut stored = Stored::default();
        for (key, value) in &*self.lock() {
            stored.put(key, value);
        }
        stored
    }
}

impl Host for Memory {
    fn persist(&mut self, key: StoreKey, value: Option<Arc<[u8]>>) {
        let mut kept = self.lock();
        match value {
            Some(value) => kept.insert(key, value),
            None => kept.remove(&key),
        };
    }

    fn notify(&mut self, event: Event) {
        log::debug!("{event:?}");
    }
}
