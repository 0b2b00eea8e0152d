//! Bob: the side that accepts.

use super::super::super::checks::{self, skew, skew_with_rtt, tolerable};
use super::super::Local;
use super::super::frame::DataKeys;
use super::super::replay::ReplayCache;
use super::initiator::append_padding;
use super::{Established, HEAD_LEN, HandshakeError, MAX_CONFIRMED, MAX_PADDING, Obfuscation};
use super::{STATIC_LEN, padding_len};
use crate::crypto::aead::TAG_LEN;
use crate::crypto::noise::{Protocol, SymmetricState};
use crate::crypto::x25519::{PrivateKey, PublicKey};
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};
use crate::wire::ntcp2::{self, Block, Blocks, CreatedOptions, RequestOptions};
use crate::wire::router_info::RouterInfo;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// The least that message 3 can hold after the static key: a block header, a flag and a tag.
const MIN_CONFIRMED: usize = ntcp2::BLOCK_HEADER_LEN + 1 + TAG_LEN;

/// Nothing was received yet.
pub(in super::super) struct AwaitRequest {
    local: Arc<Local>,
}

impl AwaitRequest {
    /// At the start.
    pub(in super::super) const fn new(local: Arc<Local>) -> Self {
        Self { local }
    }

    /// Message 1 without its padding. Nothing is computed for one that was seen before.
    pub(in super::super) fn handle_head(
        self,
        unix: UnixTime,
        replay: &mut ReplayCache,
        head: &mut [u8; HEAD_LEN],
    ) -> Result<AwaitPadding, HandshakeError> {
        let Self { local } = self;
        let (hidden, options) =
            head.split_first_chunk_mut::<32>().ok_or(HandshakeError::RequestTag)?;
        let unseen = replay.check(hidden).ok_or(HandshakeError::Replay)?;

        let mut obfuscation = Obfuscation::new(local.hash(), local.iv());
        let x = PublicKey(obfuscation.reveal(unseen.key()));
        // No key has the top bit set; here it would announce a post-quantum handshake.
        if x.0.last().is_none_or(|b| b & 0x80 != 0) {
            return Err(HandshakeError::EphemeralKey);
        }
        let mut noise = SymmetricState::new(Protocol::Ntcp2, local.static_public());
        noise.mix_hash(&x.0);
        let shared = local.static_key().diffie_hellman(&x);
        noise.mix_key(&shared.map_err(|_| HandshakeError::EphemeralKey)?);
        let options = noise.decrypt_and_hash(options).map_err(|_| HandshakeError::RequestTag)?;
        let options = RequestOptions::decode(options).map_err(|_| HandshakeError::RequestTag)?;
        if !replay.insert(unix, options.timestamp, unseen) {
            return Err(HandshakeError::Replay);
        }

        if options.version != ntcp2::VERSION {
            return Err(HandshakeError::Version(options.version));
        }
        if options.net_id != 0 && options.net_id != local.net_id() {
            return Err(HandshakeError::NetId(options.net_id));
        }
        if usize::from(options.padding) > MAX_PADDING {
            return Err(HandshakeError::Padding(options.padding));
        }
        let confirmed = usize::from(options.confirmed);
        if !(MIN_CONFIRMED..=MAX_CONFIRMED - STATIC_LEN).contains(&confirmed) {
            return Err(HandshakeError::ConfirmedLen(options.confirmed));
        }
        let skew = skew(options.timestamp, unix, Duration::ZERO);
        Ok(AwaitPadding { local, noise, obfuscation, x, options, skew })
    }
}

/// Message 1 authenticated, its padding is to come.
pub(in super::super) struct AwaitPadding {
    local: Arc<Local>,
    noise: SymmetricState,
    obfuscation: Obfuscation,
    x: PublicKey,
    options: RequestOptions,
    skew: i64,
}

/// After message 2.
pub(in super::super) enum Created {
    /// The handshake goes on.
    Await(AwaitConfirmed),
    /// The clocks differ too much: message 2 tells Alice our time, and that is all.
    Skewed(i64),
}

impl AwaitPadding {
    /// Bytes of padding, possibly none.
    pub(in super::super) const fn padding(&self) -> usize {
        self.options.padding as usize
    }

    /// Takes the padding and appends message 2 with its own.
    pub(in super::super) fn create(
        self,
        now: Instant,
        unix: UnixTime,
        padding: &[u8],
        rng: &mut Rng,
        out: &mut Vec<u8>,
    ) -> Result<Created, HandshakeError> {
        let Self { local, mut noise, mut obfuscation, x, options, skew } = self;
        if !padding.is_empty() {
            noise.mix_hash(padding);
        }
        let ephemeral = PrivateKey::generate(rng);
        let y = ephemeral.public();
        noise.mix_hash(&y.0);
        let shared = ephemeral.diffie_hellman(&x).map_err(|_| HandshakeError::EphemeralKey)?;
        noise.mix_key(&shared);

        out.extend_from_slice(&obfuscation.hide(&y.0));
        let sealed = out.len();
        let padding = padding_len(rng);
        CreatedOptions { padding, timestamp: unix.as_secs_rounded() }.encode(out);
        noise.encrypt_and_hash(out, sealed);
        append_padding(&mut noise, padding, rng, out);
        if !tolerable(skew) {
            return Ok(Created::Skewed(skew));
        }
        let confirmed = options.confirmed.into();
        Ok(Created::Await(AwaitConfirmed { local, noise, ephemeral, confirmed, skew, sent: now }))
    }
}

/// Message 2 was sent.
pub(in super::super) struct AwaitConfirmed {
    local: Arc<Local>,
    noise: SymmetricState,
    ephemeral: PrivateKey,
    confirmed: usize,
    skew: i64,
    sent: Instant,
}

/// A peer that holds the keys of its handshake, with what remains to be checked.
pub(in super::super) struct Confirmed {
    /// Keys, with which a refusal can be told.
    pub(in super::super) established: Established,
    /// The RouterInfo, every check passed, and whether it is to be flooded; or why not.
    pub(in super::super) router_info: Result<(RouterInfo, bool), HandshakeError>,
}

impl AwaitConfirmed {
    /// Bytes of message 3.
    pub(in super::super) const fn message_len(&self) -> usize {
        STATIC_LEN + self.confirmed
    }

    /// Message 3.
    pub(in super::super) fn handle_message(
        self,
        now: Instant,
        unix: UnixTime,
        message: &mut [u8],
    ) -> Result<Confirmed, HandshakeError> {
        let Self { local, mut noise, ephemeral, skew, sent, .. } = self;
        let tag = HandshakeError::ConfirmedTag;
        let (part1, part2) = message.split_at_mut_checked(STATIC_LEN).ok_or(tag)?;
        let text = noise.decrypt_and_hash(part1).map_err(|_| tag)?;
        let alice = PublicKey(*text.first_chunk().ok_or(tag)?);
        let shared = ephemeral.diffie_hellman(&alice).map_err(|_| tag)?;
        noise.mix_key(&shared);
        let payload = noise.decrypt_and_hash(part2).map_err(|_| tag)?;

        let (sealer, opener) = DataKeys::derive(&noise).for_responder();
        let rtt = now.saturating_since(sent);
        let skew = skew_with_rtt(skew, rtt);
        Ok(Confirmed {
            established: Established { sealer, opener, skew, rtt },
            router_info: check(&local, unix, &alice, payload),
        })
    }
}

/// What Bob checks of message 3 ("SessionConfirmed", notes).
fn check(
    local: &Local,
    unix: UnixTime,
    alice: &PublicKey,
    payload: &[u8],
) -> Result<(RouterInfo, bool), HandshakeError> {
    let mut blocks = Blocks::new(payload);
    let Some(Ok(Block::RouterInfo { flood, bytes })) = blocks.next() else {
        return Err(HandshakeError::Blocks);
    };
    // Then at most Options and Padding, in this order.
    let mut padding_only = false;
    for block in blocks {
        match block {
            Ok(Block::Options(_)) if !padding_only => padding_only = true,
            Ok(Block::Padding(_)) => {}
            _ => return Err(HandshakeError::Blocks),
        }
    }
    let info = RouterInfo::decode(bytes).map_err(HandshakeError::RouterInfo)?;
    let keys = info.ntcp2_addresses().map(|address| address.static_key);
    checks::router_info(&info, keys, alice, local.hash(), local.net_id(), unix)?;
    Ok((info, flood))
}
