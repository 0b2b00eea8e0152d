//! What a router persisted. Keys and the address book are durable at once; the rest is written
//! soon after, and a crash loses what was not.
//!
//! A value is written as runtimes do it: a temporary file is created, written, with keys synced, and
//! renamed, and with keys the folder is synced. Each of these is a step at which the machine may die.

use ramson_core::rng::{Rng, Seed};
use ramson_core::router::input::Stored;
use ramson_core::router::output::StoreKey;
use ramson_core::time::Instant;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How long a value that is not precious waits to be written.
const WRITE_DELAY: Duration = Duration::from_secs(2);

type Value = Option<Arc<[u8]>>;

/// What many nodes have on their disks, once: everybody keeps the RouterInfos of everybody.
#[derive(Default)]
pub(super) struct Shared {
    copies: BTreeSet<Arc<[u8]>>,
    /// At this many, those are looked for that are on no disk any more.
    sweep_at: usize,
}

impl Shared {
    /// The same bytes, of which there is one copy from now on.
    pub(super) fn one_copy(&mut self, key: &StoreKey, value: Value) -> Value {
        let (StoreKey::NetDb(_), Some(bytes)) = (key, &value) else { return value };
        if let Some(copy) = self.copies.get(bytes) {
            return Some(copy.clone());
        }
        if self.copies.len() >= self.sweep_at {
            self.copies.retain(|bytes| Arc::strong_count(bytes) > 1);
            self.sweep_at = (self.copies.len() * 2).max(1000);
        }
        self.copies.insert(bytes.clone());
        value
    }
}

/// The steps of a write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Create,
    Write,
    Sync,
    Rename,
    SyncFolder,
}

/// The store of one node.
#[derive(Default)]
pub(super) struct Disk {
    durable: BTreeMap<StoreKey, Arc<[u8]>>,
    waiting: VecDeque<(Instant, StoreKey, Value)>,
    /// Steps so far.
    steps: u64,
    cut: Option<Cut>,
}

/// The machine will die at a step, or did.
struct Cut {
    at: u64,
    dead: bool,
    /// What comes of the write at hand.
    chance: Rng,
    /// The disk says that it synced what it did not.
    lies: bool,
}

impl Disk {
    pub(super) fn put(&mut self, now: Instant, key: StoreKey, value: Value) {
        self.write_until(now);
        if is_precious(&key) {
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
        self.cut = None;
    }

    /// Steps of writes so far.
    pub(super) const fn steps(&self) -> u64 {
        self.steps
    }

    /// Lets the machine die at a step to come, 0 for the next one.
    pub(super) fn cut_at(&mut self, step: u64, seed: &Seed, lies: bool) {
        let (at, chance) = (self.steps + step, Rng::new(seed));
        self.cut = Some(Cut { at, dead: false, chance, lies });
    }

    /// True once it died.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.as_ref().is_some_and(|cut| cut.dead)
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
        let steps: &[Step] = match (is_precious(&key), &value) {
            (true, Some(_)) => {
                &[Step::Create, Step::Write, Step::Sync, Step::Rename, Step::SyncFolder]
            }
            (false, Some(_)) => &[Step::Create, Step::Write, Step::Rename],
            (true, None) => &[Step::Rename, Step::SyncFolder],
            (false, None) => &[Step::Rename],
        };
        for step in steps {
            match &mut self.cut {
                // The dead write nothing.
                Some(cut) if cut.dead => return,
                Some(cut) if cut.at == self.steps => {
                    cut.dead = true;
                    let old = self.durable.get(&key).cloned();
                    let left = cut.left(*step, is_precious(&key), old, value);
                    return self.store(key, left);
                }
                Some(_) | None => self.steps += 1,
            }
        }
        self.store(key, value);
    }

    fn store(&mut self, key: StoreKey, value: Value) {
        match value {
            Some(value) => self.durable.insert(key, value),
            None => self.durable.remove(&key),
        };
    }
}

impl Cut {
    /// What is under a name whose write ended at `step`.
    fn left(&mut self, step: Step, precious: bool, old: Value, new: Value) -> Value {
        match step {
            // Only the temporary file knows of it, and a start removes that.
            Step::Create | Step::Write | Step::Sync => old,
            Step::Rename | Step::SyncFolder if self.chance.below(2) == 0 => old,
            Step::Rename | Step::SyncFolder if precious && !self.lies => new,
            // The name may come to the medium before the bytes.
            Step::Rename | Step::SyncFolder => match self.chance.below(4) {
                0 if !self.lies => new,
                _ => new.map(|bytes| self.torn(&bytes)),
            },
        }
    }

    /// A part of it, and perhaps a tail of zeros or of something else.
    fn torn(&mut self, bytes: &[u8]) -> Arc<[u8]> {
        let kept = self.chance.index(bytes.len());
        let mut torn = bytes.get(..kept).unwrap_or_default().to_vec();
        match self.chance.below(3) {
            0 => {}
            1 => torn.resize(bytes.len(), 0),
            _ => torn.resize_with(bytes.len(), || self.chance.below(256) as u8),
        }
        torn.into()
    }
}

/// What nobody can give back.
fn is_precious(key: &StoreKey) -> bool {
    matches!(key, StoreKey::RouterKeys | StoreKey::DestinationKeys(_) | StoreKey::AddressBook)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ramson_core::wire::hash::Hash;

    fn info(n: u8) -> Value {
        Some(Arc::from(vec![n; 500]))
    }

    #[test]
    fn a_router_info_on_many_disks_is_there_once_and_goes_with_the_last() {
        let mut shared = Shared::default();
        let key = StoreKey::NetDb(Hash([1; 32]));
        let one = shared.one_copy(&key, info(1)).unwrap();
        let other = shared.one_copy(&key, info(1)).unwrap();
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(shared.one_copy(&key, info(2)), info(2));
        assert_eq!(shared.one_copy(&key, None), None);
        // The second one is on no disk: it goes when many others come.
        let kept: Vec<Value> =
            (0..2000u32).map(|n| shared.one_copy(&key, Some(Arc::from(n.to_be_bytes())))).collect();
        assert_eq!(shared.copies.len(), 1 + kept.len());
    }

    #[test]
    fn secrets_are_not_shared() {
        let mut shared = Shared::default();
        let _ = shared.one_copy(&StoreKey::RouterKeys, info(1));
        assert!(shared.copies.is_empty());
    }
}
