//! New session and new session reply messages: Noise IK with Elligator2 ephemerals and a tag in
//! front of the reply (specification `ecies`, sections 1b to 1g).

use super::super::{OpenError, SealError};
use super::tagset::{ReceiveSet, SESSION_TAG_LEN, SendSet, SessionTag};
use crate::crypto::Key32;
use crate::crypto::aead::{self, TAG_LEN};
use crate::crypto::elligator2::{self, KeyPair};
use crate::crypto::kdf::hkdf1;
use crate::crypto::noise::{Protocol, SymmetricState};
use crate::crypto::x25519::{PrivateKey, PublicKey};
use crate::wire::codec::DecodeError;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Bytes of an encoded ephemeral key.
pub(super) const KEY_LEN: usize = 32;
/// Bytes of the encrypted static key.
const STATIC_LEN: usize = KEY_LEN + TAG_LEN;
/// What a new session message adds to its payload.
pub(super) const NEW_SESSION_OVERHEAD: usize = KEY_LEN + STATIC_LEN + TAG_LEN;
/// What a reply adds to its payload.
pub(super) const REPLY_OVERHEAD: usize = SESSION_TAG_LEN + KEY_LEN + TAG_LEN + TAG_LEN;

/// Our static key, and what follows from it once for all.
pub(super) struct Local {
    key: Arc<PrivateKey>,
    public: PublicKey,
    /// After the name and our public key: where every new session to us starts.
    start: SymmetricState,
}

impl Local {
    pub(super) fn new(key: Arc<PrivateKey>) -> Self {
        let public = key.public();
        let start = SymmetricState::new(Protocol::Ratchet, &public);
        Self { key, public, start }
    }

    pub(super) const fn public(&self) -> &PublicKey {
        &self.public
    }
}

/// The sets of both directions after a handshake.
pub(super) struct Sets {
    pub(super) send: SendSet,
    pub(super) receive: ReceiveSet,
}

/// The key, tag chain included, under which replies to the new session `noise` stand.
fn reply_key(noise: &SymmetricState) -> Key32 {
    hkdf1(noise.chaining_key(), b"", b"SessionReplyTags")
}

/// After the reply's last `MixHash`: both directions' keys, and the key of the reply's payload.
fn split(noise: &SymmetricState) -> (Key32, Key32, Key32) {
    let (ab, ba) = noise.split();
    let attached = hkdf1(ba.as_bytes(), b"", b"AttachPayloadKDF");
    (ab, ba, attached)
}

/// A new session message on its way: everything that its replies need.
pub(super) struct Initiator {
    noise: SymmetricState,
    ephemeral: PrivateKey,
    /// The tags that replies may carry.
    pub(super) replies: ReceiveSet,
}

impl Initiator {
    /// Appends a bound new session message to `out`.
    pub(super) fn seal(
        local: &Local,
        remote: &PublicKey,
        pair: KeyPair,
        out: &mut Vec<u8>,
        payload: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Self, SealError> {
        let with_static = local.key.diffie_hellman(remote)?;
        let mut noise = seal_static(remote, &pair, &local.public.0, out)?;
        noise.mix_key(&with_static);
        let from = out.len();
        payload(out);
        noise.encrypt_and_hash(out, from);
        let replies = ReceiveSet::new(0, noise.chaining_key(), &reply_key(&noise));
        Ok(Self { noise, ephemeral: pair.private, replies })
    }

    /// Decrypts a reply, `tag` and what follows it, in place. The state stays as it is: replies
    /// differ in their ephemeral keys, and each leads to sets of its own.
    pub(super) fn open_reply<'a>(
        &self,
        local: &Local,
        tag: &SessionTag,
        rest: &'a mut [u8],
    ) -> Result<(Sets, &'a mut [u8]), OpenError> {
        let (encoded, rest) =
            rest.split_first_chunk_mut::<KEY_LEN>().ok_or(DecodeError::Truncated)?;
        let (mac, sealed) = rest.split_at_mut_checked(TAG_LEN).ok_or(DecodeError::Truncated)?;
        let ephemeral =
            elligator2::decode(encoded).map_err(|_| DecodeError::Invalid("ephemeral key"))?;
        let mut noise = self.noise.duplicate();
        noise.mix_hash(tag);
        noise.mix_hash(&ephemeral.0);
        noise.mix_key(&self.ephemeral.diffie_hellman(&ephemeral)?);
        noise.mix_key(&local.key.diffie_hellman(&ephemeral)?);
        noise.decrypt_and_hash(mac)?;
        let (ab, ba, attached) = split(&noise);
        let payload = aead::open(&attached, 0, noise.handshake_hash(), sealed)?;
        let sets = Sets {
            send: SendSet::new(0, noise.chaining_key(), &ab),
            receive: ReceiveSet::new(0, noise.chaining_key(), &ba),
        };
        Ok((sets, payload))
    }
}

/// Appends a message that no session follows: the static key section is zero, and the payload
/// goes on with the same key (specification `ecies`, section 1d).
pub(super) fn seal_one_time(
    remote: &PublicKey,
    pair: &KeyPair,
    out: &mut Vec<u8>,
    payload: impl FnOnce(&mut Vec<u8>),
) -> Result<(), SealError> {
    let mut noise = seal_static(remote, pair, &[0; KEY_LEN], out)?;
    let from = out.len();
    payload(out);
    noise.encrypt_and_hash(out, from);
    Ok(())
}

/// The part that bound and one-time messages share.
fn seal_static(
    remote: &PublicKey,
    pair: &KeyPair,
    section: &[u8; KEY_LEN],
    out: &mut Vec<u8>,
) -> Result<SymmetricState, SealError> {
    let shared = pair.private.diffie_hellman(remote)?;
    let mut noise = SymmetricState::new(Protocol::Ratchet, remote);
    noise.mix_hash(&pair.public.0);
    noise.mix_key(&shared);
    out.extend_from_slice(&pair.encoded);
    let from = out.len();
    out.extend_from_slice(section);
    noise.encrypt_and_hash(out, from);
    Ok(noise)
}

/// A new session message that arrived, if its sender can be answered.
pub(super) struct Responder {
    noise: SymmetricState,
    remote: PublicKey,
    remote_ephemeral: PublicKey,
    /// Only its tags are used.
    replies: SendSet,
}

impl Responder {
    /// Decrypts what follows the sender's `ephemeral` key, in place. `None` when the message was
    /// a one-time message.
    pub(super) fn open<'a>(
        local: &Local,
        ephemeral: PublicKey,
        rest: &'a mut [u8],
    ) -> Result<(Option<Self>, &'a mut [u8]), OpenError> {
        let (section, sealed) =
            rest.split_at_mut_checked(STATIC_LEN).ok_or(DecodeError::Truncated)?;
        let mut noise = local.start.duplicate();
        noise.mix_hash(&ephemeral.0);
        noise.mix_key(&local.key.diffie_hellman(&ephemeral)?);
        let section = noise.decrypt_and_hash(section)?;
        let remote = PublicKey(*section.first_chunk::<KEY_LEN>().ok_or(OpenError::Undecryptable)?);
        if remote.0 == [0; KEY_LEN] {
            return Ok((None, noise.decrypt_and_hash(sealed)?));
        }
        noise.mix_key(&local.key.diffie_hellman(&remote)?);
        let payload = noise.decrypt_and_hash(sealed)?;
        let replies = SendSet::new(0, noise.chaining_key(), &reply_key(&noise));
        Ok((Some(Self { noise, remote, remote_ephemeral: ephemeral, replies }), payload))
    }

    /// The sender's static key, which it has proved to own.
    pub(super) const fn remote(&self) -> &PublicKey {
        &self.remote
    }

    /// Replies made so far.
    pub(super) const fn replies(&self) -> u32 {
        self.replies.sent()
    }

    /// Appends a reply to `out`. Each has an ephemeral key of its own, as the specification
    /// demands, and so sets of its own: with one key for several replies their payloads would be
    /// encrypted under the same key and nonce.
    pub(super) fn seal_reply(
        &mut self,
        pair: &KeyPair,
        out: &mut Vec<u8>,
        payload: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Sets, SealError> {
        let with_ephemeral = pair.private.diffie_hellman(&self.remote_ephemeral)?;
        let with_static = pair.private.diffie_hellman(&self.remote)?;
        let tag = self.replies.next_tag().ok_or(SealError::NoKey)?;
        let mut noise = self.noise.duplicate();
        out.extend_from_slice(&tag);
        out.extend_from_slice(&pair.encoded);
        noise.mix_hash(&tag);
        noise.mix_hash(&pair.public.0);
        noise.mix_key(&with_ephemeral);
        noise.mix_key(&with_static);
        let from = out.len();
        noise.encrypt_and_hash(out, from);
        let (ab, ba, attached) = split(&noise);
        let from = out.len();
        payload(out);
        if let Some(text) = out.get_mut(from..) {
            let mac = aead::seal(&attached, 0, noise.handshake_hash(), text);
            out.extend_from_slice(&mac);
        }
        Ok(Sets {
            send: SendSet::new(0, noise.chaining_key(), &ba),
            receive: ReceiveSet::new(0, noise.chaining_key(), &ab),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::hash::{sha256, sha256_concat};
    use crate::crypto::kdf::hkdf2;
    use crate::garlic::ecies::tagset::Look;
    use crate::rng::{Rng, Seed};

    fn setup() -> (Rng, Local, Local) {
        let mut rng = Rng::new(&Seed::from_number(1));
        let [a, b] = [(), ()].map(|()| Local::new(Arc::new(PrivateKey::generate(&mut rng))));
        (rng, a, b)
    }

    fn text(bytes: &'static [u8]) -> impl FnOnce(&mut Vec<u8>) {
        |out| out.extend_from_slice(bytes)
    }

    /// Reads a new session message as its receiver does.
    fn open<'a>(
        local: &Local,
        message: &'a mut [u8],
    ) -> Result<(Option<Responder>, &'a mut [u8]), OpenError> {
        let (encoded, rest) = message.split_first_chunk_mut().unwrap();
        Responder::open(local, elligator2::decode(encoded).unwrap(), rest)
    }

    fn assert_paired(send: &mut SendSet, receive: &mut ReceiveSet) {
        let mut message = Vec::new();
        let index = send.seal(&mut message, text(b"paired")).unwrap();
        let (tag, sealed) = message.split_first_chunk_mut().unwrap();
        receive.extend(Look::Far, |_, _| ());
        assert_eq!(receive.open(index, tag, sealed).unwrap(), b"paired");
    }

    #[test]
    fn several_replies_to_one_new_session_all_open_and_pair_up() {
        let (mut rng, alice, bob) = setup();
        let pair = KeyPair::generate(&mut rng).unwrap();
        let mut message = Vec::new();
        let mut initiator =
            Initiator::seal(&alice, bob.public(), pair, &mut message, text(b"hello")).unwrap();
        assert_eq!(message.len(), NEW_SESSION_OVERHEAD + 5);
        let (responder, payload) = open(&bob, &mut message).unwrap();
        assert_eq!(payload, b"hello");
        let mut responder = responder.unwrap();
        assert_eq!(responder.remote(), alice.public());

        let mut tags = Vec::new();
        initiator.replies.extend_replies(|tag, _| tags.push(tag));
        assert_eq!(tags.len(), 12);
        for want in tags {
            let pair = KeyPair::generate(&mut rng).unwrap();
            let mut reply = Vec::new();
            let mut theirs = responder.seal_reply(&pair, &mut reply, text(b"reply")).unwrap();
            assert_eq!(reply.len(), REPLY_OVERHEAD + 5);
            let (tag, rest) = reply.split_first_chunk_mut().unwrap();
            assert_eq!(*tag, want);
            let (mut ours, payload) = initiator.open_reply(&alice, tag, rest).unwrap();
            assert_eq!(payload, b"reply");
            assert_paired(&mut ours.send, &mut theirs.receive);
            assert_paired(&mut theirs.send, &mut ours.receive);
        }
    }

    #[test]
    fn one_time_messages_open_and_leave_nothing() {
        let (mut rng, _, bob) = setup();
        let pair = KeyPair::generate(&mut rng).unwrap();
        let mut message = Vec::new();
        seal_one_time(bob.public(), &pair, &mut message, text(b"hello")).unwrap();
        let (responder, payload) = open(&bob, &mut message).unwrap();
        assert!(responder.is_none());
        assert_eq!(payload, b"hello");
    }

    #[test]
    fn cuts_and_flips_are_refused_and_change_nothing() {
        let (mut rng, alice, bob) = setup();
        let pair = KeyPair::generate(&mut rng).unwrap();
        let mut message = Vec::new();
        let initiator =
            Initiator::seal(&alice, bob.public(), pair, &mut message, text(b"hello")).unwrap();
        for cut in KEY_LEN..message.len() {
            assert!(open(&bob, &mut message[..cut].to_vec()).is_err());
        }
        for bit in KEY_LEN * 8..message.len() * 8 {
            let mut bad = message.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&bob, &mut bad).is_err(), "{bit}");
        }
        let mut responder = open(&bob, &mut message).unwrap().0.unwrap();
        let pair = KeyPair::generate(&mut rng).unwrap();
        let mut reply = Vec::new();
        responder.seal_reply(&pair, &mut reply, text(b"reply")).unwrap();
        let check = |mut reply: Vec<u8>| {
            let (tag, rest) = reply.split_first_chunk_mut().unwrap();
            initiator.open_reply(&alice, tag, rest).is_ok()
        };
        for cut in SESSION_TAG_LEN..reply.len() {
            assert!(!check(reply[..cut].to_vec()));
        }
        for bit in 0..reply.len() * 8 {
            let mut bad = reply.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // The two bits on top of the encoded key are random and ignored.
            let ignored = [39 * 8 + 6, 39 * 8 + 7].contains(&bit);
            assert_eq!(check(bad), ignored, "{bit}");
        }
        assert!(check(reply));
    }

    // The steps of the specification, spelled out with primitives, for both messages.
    #[test]
    fn the_key_schedule_is_that_of_the_specification() {
        let (mut rng, alice, bob) = setup();
        let ask = &alice.key;
        let (apk, bpk) = (alice.public, bob.public);
        let dh = |k: &PrivateKey, p: &PublicKey| k.diffie_hellman(p).unwrap();

        let ae = KeyPair::generate(&mut rng).unwrap();
        let h = sha256(b"Noise_IKelg2+hs2_25519_ChaChaPoly_SHA256");
        let ck = h;
        let h = sha256_concat(&[&sha256(&h), &bpk.0]);
        let h = sha256_concat(&[&h, &ae.public.0]);
        let (ck, k) = hkdf2(&ck, dh(&ae.private, &bpk).as_bytes(), b"");
        let mut section = apk.0.to_vec();
        let mac = aead::seal(&k, 0, &h, &mut section);
        section.extend(mac);
        let h = sha256_concat(&[&h, &section]);
        let (ck, k) = hkdf2(ck.as_bytes(), dh(ask, &bpk).as_bytes(), b"");
        let mut payload = b"hello".to_vec();
        let mac = aead::seal(&k, 0, &h, &mut payload);
        payload.extend(mac);
        let h = sha256_concat(&[&h, &payload]);
        let mut message = [&ae.encoded[..], &section, &payload].concat();
        let (responder, opened) = open(&bob, &mut message).unwrap();
        assert_eq!(opened, b"hello");
        let mut responder = responder.unwrap();

        let be = KeyPair::generate(&mut rng).unwrap();
        let mut reply = Vec::new();
        let sets = responder.seal_reply(&be, &mut reply, text(b"reply")).unwrap();
        let tagset_key = hkdf1(ck.as_bytes(), b"", b"SessionReplyTags");
        let mut tags = SendSet::new(0, ck.as_bytes(), &tagset_key);
        let tag = tags.next_tag().unwrap();
        let h = sha256_concat(&[&h, &tag]);
        let h = sha256_concat(&[&h, &be.public.0]);
        let (ck, _) = hkdf2(ck.as_bytes(), dh(&ae.private, &be.public).as_bytes(), b"");
        let (ck, k) = hkdf2(ck.as_bytes(), dh(ask, &be.public).as_bytes(), b"");
        let (mac, sealed) = reply[8 + 32..].split_at(16);
        assert_eq!((&reply[..8], &reply[8..40]), (&tag[..], &be.encoded[..]));
        assert_eq!(mac, aead::seal(&k, 0, &h, &mut []));
        let h = sha256_concat(&[&h, mac]);
        let (k_ab, k_ba) = hkdf2(ck.as_bytes(), b"", b"");
        let k = hkdf1(k_ba.as_bytes(), b"", b"AttachPayloadKDF");
        assert_eq!(aead::open(&k, 0, &h, &mut sealed.to_vec()).unwrap(), b"reply");
        assert_eq!(sets.send.root(), SendSet::new(0, ck.as_bytes(), &k_ba).root());
        assert_eq!(sets.receive.root(), SendSet::new(0, ck.as_bytes(), &k_ab).root());
    }
}
