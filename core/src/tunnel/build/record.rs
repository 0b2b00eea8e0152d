//! One build record: its encryption to a hop and what both sides derive from it
//! (specification `tunnel-creation-ecies`, "Request Record Keys" and "Short Record").

use crate::crypto::aead::{self, BadTag, TAG_LEN};
use crate::crypto::aes::Encryptor;
use crate::crypto::kdf::hkdf2;
use crate::crypto::noise::{Protocol, SymmetricState};
use crate::crypto::x25519::{LowOrder, PrivateKey, PublicKey};
use crate::crypto::{Key32, chacha20};
use crate::rng::Rng;
use crate::tunnel::layer::LayerKeys;
use crate::tunnel::once::Once;
use crate::wire::hash::Hash;
use crate::wire::tunnel::{RECORD_HASH_LEN, Role, SHORT_RECORD_LEN, SHORT_REPLY_LEN};
use alloc::vec::Vec;

/// Where the ciphertext starts: after the truncated hash and the ephemeral key.
const SEALED_AT: usize = RECORD_HASH_LEN + 32;

/// Why a record cannot be opened: not meant for us, or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotOpened;

impl From<BadTag> for NotOpened {
    fn from(_: BadTag) -> Self {
        Self
    }
}

impl From<LowOrder> for NotOpened {
    fn from(_: LowOrder) -> Self {
        Self
    }
}

/// Appends the record that only the owner of `to` can read, and gives the Noise state after it.
pub(crate) fn seal_request(
    hop: &Hash,
    to: &PublicKey,
    cleartext: &[u8],
    rng: &mut Rng,
    out: &mut Vec<u8>,
) -> Result<SymmetricState, LowOrder> {
    let ephemeral = PrivateKey::generate(rng);
    let mut state = SymmetricState::new(Protocol::Router, to);
    let public = ephemeral.public();
    state.mix_hash(&public.0);
    state.mix_key(&ephemeral.diffie_hellman(to)?);
    out.extend_from_slice(hop.as_bytes().first_chunk::<RECORD_HASH_LEN>().unwrap_or(&[0; 16]));
    out.extend_from_slice(&public.0);
    let from = out.len();
    out.extend_from_slice(cleartext);
    state.encrypt_and_hash(out, from);
    Ok(state)
}

/// True when the record's truncated hash names `hop`.
pub(crate) fn is_for(record: &[u8], hop: &Hash) -> bool {
    record.first_chunk::<RECORD_HASH_LEN>() == hop.as_bytes().first_chunk::<RECORD_HASH_LEN>()
}

/// Opens a request in place; gives the cleartext and the Noise state after it. The one
/// expensive step of a participant: a Diffie-Hellman.
pub(crate) fn open_request<'a>(
    key: &PrivateKey,
    local: &PublicKey,
    record: &'a mut [u8],
) -> Result<(&'a [u8], SymmetricState), NotOpened> {
    let (head, sealed) = record.split_at_mut_checked(SEALED_AT).ok_or(NotOpened)?;
    let ephemeral = PublicKey(*head.last_chunk::<32>().ok_or(NotOpened)?);
    let mut state = SymmetricState::new(Protocol::Router, local);
    state.mix_hash(&ephemeral.0);
    state.mix_key(&key.diffie_hellman(&ephemeral)?);
    let cleartext = state.decrypt_and_hash(sealed)?;
    Ok((cleartext, state))
}

/// What creator and hop derive from a short request.
pub(crate) struct ShortKeys {
    /// Encrypts the hop's own reply, and the other records on their way.
    pub(crate) reply: Key32,
    /// The handshake hash: associated data of the hop's own reply.
    pub(crate) hash: [u8; 32],
    /// For the cells.
    pub(crate) layer: LayerKeys,
    /// Wraps the reply of an outbound endpoint, which alone has one.
    pub(crate) garlic: Option<Once>,
}

impl ShortKeys {
    /// From the state after the request.
    pub(crate) fn derive(state: &SymmetricState, role: Role) -> Self {
        let (ck, reply) = hkdf2(state.chaining_key(), b"", b"SMTunnelReplyKey");
        let (ck, layer) = hkdf2(ck.as_bytes(), b"", b"SMTunnelLayerKey");
        let (iv, garlic) = match role {
            // The IV key of a hop that is no endpoint is the chaining key itself.
            Role::Gateway | Role::Participant => (ck, None),
            Role::Endpoint => {
                let (ck, iv) = hkdf2(ck.as_bytes(), b"", b"TunnelLayerIVKey");
                let (ck, key) = hkdf2(ck.as_bytes(), b"", b"RGarlicKeyAndTag");
                let [a, b, c, d, e, f, g, h, ..] = *ck.as_bytes();
                (iv, Some(Once { tag: [a, b, c, d, e, f, g, h], key }))
            }
        };
        let hash = *state.handshake_hash();
        Self { reply, hash, layer: LayerKeys { layer, iv }, garlic }
    }

    /// Encrypts the hop's own reply in place; its cleartext is all but the last 16 bytes.
    pub(crate) fn seal_reply(&self, slot: usize, record: &mut [u8; SHORT_RECORD_LEN]) {
        if let Some((text, tag)) = record.split_first_chunk_mut::<SHORT_REPLY_LEN>()
            && let Some(tag) = tag.first_chunk_mut::<TAG_LEN>()
        {
            *tag = aead::seal(&self.reply, slot as u64, &self.hash, text);
        }
    }

    /// Decrypts the hop's own reply in place.
    pub(crate) fn open_reply<'a>(
        &self,
        slot: usize,
        record: &'a mut [u8; SHORT_RECORD_LEN],
    ) -> Result<&'a [u8], BadTag> {
        aead::open(&self.reply, slot as u64, &self.hash, record).map(|text| &*text)
    }

    /// What the hop does to every record but its own: its own inverse.
    pub(crate) fn mask(&self, slot: usize, record: &mut [u8; SHORT_RECORD_LEN]) {
        chacha20::apply(&self.reply, &aead::nonce(slot as u64), record);
    }
}

/// Encrypts the own reply of a long record: the chaining key serves as the key.
pub(crate) fn seal_long_reply(state: &SymmetricState, record: &mut [u8]) {
    let key = Key32::new(*state.chaining_key());
    if let Some((text, tag)) = record.split_last_chunk_mut::<TAG_LEN>() {
        *tag = aead::seal(&key, 0, state.handshake_hash(), text);
    }
}

/// What a hop does to the other long records.
pub(crate) fn mask_long(reply: &Encryptor, iv: &[u8; 16], record: &mut [u8]) {
    reply.cbc_encrypt(iv, record);
}
