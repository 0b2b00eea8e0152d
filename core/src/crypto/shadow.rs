//! For tests: remembers what was sealed, and finds a nonce or a tag that is used twice.
//!
//! A stream cipher that encrypts two texts under one key and nonce gives both away, and
//! Poly1305 its key too. Nothing in a sealed message shows that, so it is looked for where all
//! sealing passes, in the thread that asks for it; a build without tests has none of it. A test that makes
//! several machines from one seed would see their keys again.

extern crate std;

use super::Key32;
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use core::cell::RefCell;
use core::hash::{Hash, Hasher};
use std::hash::DefaultHasher;
use std::thread_local;

/// What was used, and for which text.
#[derive(Default)]
struct Seen {
    nonces: BTreeMap<([u8; 32], u64), u64>,
    tags: BTreeMap<[u8; 8], u64>,
}

thread_local! {
    static SEEN: RefCell<Option<Seen>> = const { RefCell::new(None) };
}

/// From now on, in this thread, a nonce or tag that is used twice is a panic. What was seen before is
/// forgotten.
pub fn watch() {
    SEEN.with_borrow_mut(|seen| *seen = Some(Seen::default()));
}

/// Nonces and tags that were used since [`watch`], which ends.
#[must_use]
pub fn stop() -> (usize, usize) {
    let seen = SEEN.with_borrow_mut(Option::take).unwrap_or_default();
    (seen.nonces.len(), seen.tags.len())
}

/// Something is sealed. To seal the same again gives the same, and nothing away.
///
/// # Panics
/// When another text was sealed under the same key and nonce.
pub(super) fn note(key: &Key32, n: u64, ad: &[u8], text: &[u8]) {
    SEEN.with_borrow_mut(|seen| {
        let Some(seen) = seen else { return };
        let digest = digest(&(ad, text));
        let known = remember(seen.nonces.entry((*key.as_bytes(), n)), digest);
        assert!(known, "nonce {n} is used twice under one key");
    });
}

/// A message goes under a session tag.
///
/// # Panics
/// When another one did.
pub(crate) fn note_tag(tag: [u8; 8], text: &[u8]) {
    SEEN.with_borrow_mut(|seen| {
        let Some(seen) = seen else { return };
        let known = remember(seen.tags.entry(tag), digest(&text));
        assert!(known, "a session tag is used twice");
    });
}

/// False when it is known with another text.
fn remember<K: Ord>(entry: Entry<'_, K, u64>, digest: u64) -> bool {
    *entry.or_insert(digest) == digest
}

fn digest(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::aead;
    use super::*;

    fn seal(key: u8, n: u64, text: &[u8]) {
        let _tag = aead::seal(&Key32::new([key; 32]), n, b"", &mut text.to_vec());
    }

    #[test]
    fn other_texts_have_other_nonces() {
        seal(1, 0, b"nobody watches");
        watch();
        seal(1, 0, b"one");
        seal(1, 1, b"two");
        seal(2, 0, b"two");
        seal(1, 0, b"one");
        note_tag([1; 8], b"one");
        note_tag([2; 8], b"two");
        assert_eq!(stop(), (3, 2));
        seal(1, 0, b"nobody watches");
    }

    #[test]
    #[should_panic(expected = "nonce 7 is used twice")]
    fn a_nonce_that_is_used_twice_is_seen() {
        watch();
        seal(1, 7, b"one");
        seal(1, 7, b"two");
    }

    #[test]
    #[should_panic(expected = "a session tag is used twice")]
    fn a_tag_that_is_used_twice_is_seen() {
        watch();
        note_tag([1; 8], b"one");
        note_tag([1; 8], b"two");
    }
}
