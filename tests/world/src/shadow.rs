//! Finds nonces and tags that are used twice, in builds of `ramson-core` with the feature `shadow`.
//!
//! One that two texts have fails the run as an ERROR does. A test that makes several machines from one
//! seed would see their keys again.

use crate::world::journal;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Under which the core says what it seals.
pub(crate) const TARGET: &str = "ramson_core::crypto::shadow";

/// Digests of the texts, by what was used.
#[derive(Default)]
struct Seen {
    nonces: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
}

thread_local! {
    static SEEN: RefCell<Option<Seen>> = const { RefCell::new(None) };
}

/// From now on, in this thread, a nonce or tag that is used twice is an error. What was seen before is
/// forgotten.
pub fn watch() {
    journal::install();
    log::set_max_level(log::LevelFilter::Trace);
    SEEN.set(Some(Seen::default()));
}

/// Nonces and tags that were used since [`watch`], which ends.
#[must_use]
pub fn stop() -> (usize, usize) {
    let seen = SEEN.take().unwrap_or_default();
    (seen.nonces.len(), seen.tags.len())
}

/// What the core says of something that it seals; gives back what is wrong with it.
pub(crate) fn note(said: &str) -> Option<String> {
    SEEN.with_borrow_mut(|seen| {
        let seen = seen.as_mut()?;
        let mut words = said.split(' ').map(str::to_owned);
        let (Some(what), Some(id), Some(text)) = (words.next(), words.next(), words.next()) else {
            return Some(format!("not understood: {said}"));
        };
        let known = if what == "nonce" { &mut seen.nonces } else { &mut seen.tags };
        match known.entry(id) {
            Entry::Vacant(free) => {
                free.insert(text);
                None
            }
            Entry::Occupied(taken) => {
                (*taken.get() != text).then(|| format!("a {what} is used twice"))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ramson_core::crypto::{Key32, aead};

    fn seal(key: u8, n: u64, text: &[u8]) {
        let _tag = aead::seal(&Key32::new([key; 32]), n, b"", &mut text.to_vec());
    }

    fn tag(id: u8, text: u8) {
        log::trace!(target: TARGET, "tag {id} {text}");
    }

    #[test]
    fn other_texts_have_other_nonces() {
        seal(1, 0, b"nobody watches");
        watch();
        seal(1, 0, b"one");
        seal(1, 1, b"two");
        seal(2, 0, b"two");
        seal(1, 0, b"one");
        tag(1, 1);
        tag(2, 2);
        assert_eq!((stop(), journal::take_error()), ((3, 2), None));
        seal(1, 0, b"nobody watches");
        assert_eq!(journal::take_error(), None);
    }

    #[test]
    fn a_nonce_that_is_used_twice_is_seen() {
        watch();
        seal(1, 7, b"one");
        seal(1, 7, b"two");
        assert_eq!(journal::take_error().as_deref(), Some("a nonce is used twice"));
    }

    #[test]
    fn a_tag_that_is_used_twice_is_seen() {
        watch();
        tag(1, 1);
        tag(1, 2);
        assert_eq!(journal::take_error().as_deref(), Some("a tag is used twice"));
    }
}
