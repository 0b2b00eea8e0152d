//! For tests: says what is sealed, so that whoever listens finds a nonce or a tag that is used twice.
//!
//! A stream cipher that encrypts two texts under one key and nonce gives both away, and
//! Poly1305 its key too. Nothing in a sealed message shows that, so it is said where all sealing passes: to
//! the log, at level TRACE under the path of this module, as `nonce ID TEXT` or `tag ID TEXT`. The two are
//! digests, and one ID with two TEXTs is the mistake; to seal the same again gives nothing away.

use super::Key32;
use super::hash::sha256_concat;
use data_encoding::HEXLOWER;

/// Something is sealed.
pub(super) fn note(key: &Key32, n: u64, ad: &[u8], text: &[u8]) {
    let len = (ad.len() as u64).to_be_bytes();
    say("nonce", &[key.as_bytes(), &n.to_be_bytes()], &[&len, ad, text]);
}

/// A message goes under a session tag.
pub(crate) fn note_tag(tag: [u8; 8], text: &[u8]) {
    say("tag", &[&tag], &[text]);
}

fn say(what: &str, id: &[&[u8]], text: &[&[u8]]) {
    if log::log_enabled!(log::Level::Trace) {
        let (id, text) = (sha256_concat(id), sha256_concat(text));
        log::trace!("{what} {} {}", HEXLOWER.encode(&id), HEXLOWER.encode(&text));
    }
}
