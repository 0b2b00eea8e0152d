//! Alice: the side that connects.

use super::super::super::checks::{skew, tolerable};
use super::super::frame::DataKeys;
use super::super::{Local, Remote};
use super::padding_len;
use super::{Established, HEAD_LEN, HandshakeError, MAX_PADDING, Obfuscation};
use crate::crypto::aead::{self, TAG_LEN};
use crate::crypto::chacha20;
use crate::crypto::noise::{Protocol, SymmetricState};
use crate::crypto::x25519::{PrivateKey, PublicKey};
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use crate::wire::ntcp2::{self, CreatedOptions, OPTIONS_LEN, RequestOptions};
use crate::wire::router_info::RouterInfo;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// Nothing was sent yet.
pub(in super::super) struct Start {
    local: Arc<Local>,
    remote: Remote,
    router_info: RouterInfo,
}

impl Start {
    /// `router_info` is ours; the same bytes go into message 3, whose length message 1 announces.
    pub(in super::super) const fn new(
        local: Arc<Local>,
        remote: Remote,
        router_info: RouterInfo,
    ) -> Self {
        Self { local, remote, router_info }
    }

    /// Appends message 1 with its padding.
    pub(in super::super) fn request(
        self,
        now: Instant,
        unix: UnixTime,
        rng: &mut Rng,
        out: &mut Vec<u8>,
    ) -> Result<AwaitCreated, HandshakeError> {
        let Self { local, remote, router_info } = self;
        let mut confirmed = Vec::new();
        ntcp2::put_router_info(&mut confirmed, false, router_info.as_bytes())
            .map_err(HandshakeError::RouterInfo)?;

        let mut noise = SymmetricState::new(Protocol::Ntcp2, &remote.static_key);
        let mut obfuscation = Obfuscation::new(&remote.hash, &remote.iv);
        let ephemeral = PrivateKey::generate(rng);
        let x = ephemeral.public();
        noise.mix_hash(&x.0);
        let shared = ephemeral.diffie_hellman(&remote.static_key);
        noise.mix_key(&shared.map_err(|_| HandshakeError::RemoteKey)?);

        out.extend_from_slice(&obfuscation.hide(&x.0));
        let sealed = out.len();
        let padding = padding_len(rng);
        RequestOptions {
            net_id: local.net_id(),
            version: ntcp2::VERSION,
            padding,
            // A RouterInfo has at most 4 KiB.
            confirmed: (confirmed.len() + TAG_LEN) as u16,
            timestamp: unix.as_secs_rounded(),
        }
        .encode(out);
        noise.encrypt_and_hash(out, sealed);
        append_padding(&mut noise, padding, rng, out);
        let peer = remote.hash;
        Ok(AwaitCreated { local, peer, noise, obfuscation, ephemeral, confirmed, sent: now })
    }
}

/// Message 1 was sent.
pub(in super::super) struct AwaitCreated {
    local: Arc<Local>,
    peer: Hash,
    noise: SymmetricState,
    obfuscation: Obfuscation,
    ephemeral: PrivateKey,
    confirmed: Vec<u8>,
    sent: Instant,
}

impl AwaitCreated {
    /// Message 2 without its padding.
    pub(in super::super) fn handle_head(
        self,
        now: Instant,
        unix: UnixTime,
        head: &mut [u8; HEAD_LEN],
    ) -> Result<AwaitPadding, HandshakeError> {
        let Self { local, peer, mut noise, mut obfuscation, ephemeral, confirmed, sent } = self;
        let (hidden, options) =
            head.split_first_chunk_mut::<32>().ok_or(HandshakeError::CreatedTag)?;
        let y = PublicKey(obfuscation.reveal(hidden));
        noise.mix_hash(&y.0);
        let shared = ephemeral.diffie_hellman(&y).map_err(|_| HandshakeError::EphemeralKey)?;
        noise.mix_key(&shared);
        let rtt = now.saturating_since(sent);
        let mut unverified =
            *options.first_chunk::<OPTIONS_LEN>().ok_or(HandshakeError::CreatedTag)?;
        let Ok(options) = noise.decrypt_and_hash(options) else {
            chacha20::apply(&noise.cipher_key(), &aead::nonce(0), &mut unverified);
            return Err(unverified_skew(&unverified, unix, rtt));
        };
        let options = CreatedOptions::decode(options).map_err(|_| HandshakeError::CreatedTag)?;
        let skew = skew(options.timestamp, unix, rtt);
        if !tolerable(skew) {
            return Err(HandshakeError::ClockSkew(skew));
        }
        if usize::from(options.padding) > MAX_PADDING {
            return Err(HandshakeError::Padding(options.padding));
        }
        let padding = options.padding;
        Ok(AwaitPadding { local, peer, noise, y, confirmed, padding, skew, rtt })
    }
}

/// Message 2 authenticated, its padding is to come.
pub(in super::super) struct AwaitPadding {
    local: Arc<Local>,
    peer: Hash,
    noise: SymmetricState,
    y: PublicKey,
    confirmed: Vec<u8>,
    padding: u16,
    skew: i64,
    rtt: Duration,
}

impl AwaitPadding {
    /// Bytes of padding, possibly none.
    pub(in super::super) const fn padding(&self) -> usize {
        self.padding as usize
    }

    /// Takes the padding and appends message 3. The peer is who we took it for, which is returned;
    /// our side may send at once.
    pub(in super::super) fn confirm(
        self,
        padding: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(Established, Hash), HandshakeError> {
        let Self { local, peer, mut noise, y, confirmed, skew, rtt, .. } = self;
        if !padding.is_empty() {
            noise.mix_hash(padding);
        }
        let sealed = out.len();
        out.extend_from_slice(&local.static_public().0);
        noise.encrypt_and_hash(out, sealed);

        let shared = local.static_key().diffie_hellman(&y);
        noise.mix_key(&shared.map_err(|_| HandshakeError::EphemeralKey)?);
        let sealed = out.len();
        out.extend_from_slice(&confirmed);
        noise.encrypt_and_hash(out, sealed);
        let (sealer, opener) = DataKeys::derive(&noise).for_initiator();
        Ok((Established { sealer, opener, skew, rtt }, peer))
    }
}

/// What to make of a message 2 that does not authenticate.
///
/// i2pd answers a skewed message 1 before it has read the padding that it hashes, so that its tag
/// is wrong in exactly the case where message 2 is sent for the sake of its timestamp. Only who
/// knows the static key can make the ten reserved bytes come out as zeros; anybody on the way can
/// alter the timestamp, so this is a hint, as the clock of any single peer is.
fn unverified_skew(options: &[u8; OPTIONS_LEN], unix: UnixTime, rtt: Duration) -> HandshakeError {
    let [0, 0, _, _, 0, 0, 0, 0, timestamp @ .., 0, 0, 0, 0] = options else {
        return HandshakeError::CreatedTag;
    };
    match skew(u32::from_be_bytes(*timestamp), unix, rtt) {
        skew if tolerable(skew) => HandshakeError::CreatedTag,
        skew => HandshakeError::ClockSkew(skew),
    }
}

/// Appends random padding, which the next message authenticates.
pub(super) fn append_padding(
    noise: &mut SymmetricState,
    len: u16,
    rng: &mut Rng,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    out.resize(start + usize::from(len), 0);
    if let Some(padding) = out.get_mut(start..).filter(|p| !p.is_empty()) {
        rng.fill(padding);
        noise.mix_hash(padding);
    }
}
