//! Bob: the side that accepts.

use super::super::{DataKeys, Local, Tokens, ValidToken};
use super::payload::{self, Content, Told};
use super::pieces::{Piece, Pieces};
use super::{
    Established, HandshakeError, Ids, Outcome, Sent, acceptable, confirmed_key, created_key,
    long_header, packet_len, pad,
};
use crate::crypto::Key32;
use crate::crypto::noise::{Protocol, SymmetricState};
use crate::crypto::x25519::{PrivateKey, PublicKey};
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};
use crate::transport::checks::{self, skew, skew_with_rtt, tolerable};
use crate::wire::codec::Put;
use crate::wire::router_info::{RouterInfo, Ssu2Address};
use crate::wire::ssu2::{
    Block, Family, Header, KEY_LEN, LONG_HEADER_LEN, LongHeader, LongKind, PacketType,
    SEALED_KEY_LEN, SHORT_HEADER_LEN, ShortHeader, ShortKind, WriteError, Writer, protect,
};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

/// Bytes at the start of SessionRequest that tell it from all others: the header, and the ephemeral key.
const HEAD_LEN: usize = LONG_HEADER_LEN + KEY_LEN;
/// Bytes at the start of SessionConfirmed that have a tag of their own: the header, and the sealed static key.
const CONFIRMED_HEAD_LEN: usize = SHORT_HEADER_LEN + SEALED_KEY_LEN;

/// A SessionRequest from who proved to receive at its address, opened and found good.
pub struct Request {
    local: Arc<Local>,
    noise: SymmetricState,
    head: [u8; HEAD_LEN],
    x: PublicKey,
    ids: Ids,
    from: SocketAddr,
    skew: i64,
    told: Told,
}

impl Request {
    /// Opens a SessionRequest whose header is `header` and, as the key after it, no longer protected; afterwards
    /// the packet's content is undefined. `token` is its token, found good, and spent once the packet
    /// authenticated.
    ///
    /// After an error nothing is kept; a Retry with a refusal answers those that have a
    /// [`HandshakeError::reason`].
    pub fn open(
        local: Arc<Local>,
        tokens: &mut Tokens,
        token: ValidToken,
        header: &LongHeader,
        packet: &mut [u8],
        unix: UnixTime,
    ) -> Result<Self, HandshakeError> {
        let ids = Ids::new(header.destination, header.source);
        let (LongKind::SessionRequest, true, Some(ids)) =
            (header.kind, acceptable(header, local.net_id()), ids)
        else {
            return Err(HandshakeError::Unexpected);
        };
        if token.token() != header.token {
            return Err(HandshakeError::Proof);
        }
        let (head, sealed) =
            packet.split_first_chunk_mut::<HEAD_LEN>().ok_or(HandshakeError::Tag)?;
        let (plain, x) = head.split_last_chunk::<KEY_LEN>().ok_or(HandshakeError::Tag)?;
        let x = PublicKey(*x);
        let mut noise = SymmetricState::new(Protocol::Ssu2, local.static_public());
        noise.mix_hash(plain);
        noise.mix_hash(&x.0);
        let shared = local.static_key().diffie_hellman(&x);
        noise.mix_key(&shared.map_err(|_| HandshakeError::EphemeralKey)?);
        let payload = noise.decrypt_and_hash(sealed).map_err(|_| HandshakeError::Tag)?;
        let from = token.from();
        tokens.spend(token).map_err(|_| HandshakeError::Repeated)?;
        let Content { date, told, .. } = payload::read(header.kind, payload)?;
        let skew = skew(date, unix, Duration::ZERO);
        if !tolerable(skew) {
            return Err(HandshakeError::ClockSkew(skew));
        }
        Ok(Self { local, noise, head: *head, x, ids, from, skew, told })
    }

    /// Whether the peer would have us as introducer.
    #[must_use]
    pub const fn wants_relay_tag(&self) -> bool {
        self.told.relay_tag_request
    }

    /// Makes SessionCreated, with a tag if the peer is to have us as introducer.
    pub fn create(
        self,
        now: Instant,
        unix: UnixTime,
        relay_tag: Option<u32>,
        rng: &mut Rng,
    ) -> Result<AwaitConfirmed, HandshakeError> {
        let Self { local, mut noise, head, x, ids, from, skew, told } = self;
        let key = created_key(&noise);
        let ephemeral = PrivateKey::generate(rng);
        let y = ephemeral.public();
        let mut packet = Vec::with_capacity(192);
        long_header(LongKind::SessionCreated, ids, 0, local.net_id(), rng).encode(&mut packet);
        noise.mix_hash(&packet);
        noise.mix_hash(&y.0);
        let shared = ephemeral.diffie_hellman(&x).map_err(|_| HandshakeError::EphemeralKey)?;
        noise.mix_key(&shared);

        packet.put(&y.0);
        let sealed = packet.len();
        created_payload(from, unix, relay_tag, rng, &mut packet)
            .map_err(|_| HandshakeError::Blocks)?;
        noise.encrypt_and_hash(&mut packet, sealed);
        let protected = protect::protect(&mut packet, local.intro(), &key);
        protected.map_err(HandshakeError::Payload)?;
        Ok(AwaitConfirmed {
            confirmed_key: confirmed_key(&noise),
            local,
            noise,
            ephemeral,
            head,
            ids,
            from,
            skew,
            told,
            sent: Sent::new(packet, now),
            alice: None,
            pieces: Pieces::default(),
        })
    }
}

/// SessionCreated was sent.
///
/// The first part of a SessionConfirmed starts with something that has a tag of its own, so that it is known to be
/// Alice's as far as that goes; the rest is authenticated together. Who copies a part and changes the middle makes
/// one that nothing tells from the true one before all are there. So parts that differ are kept beside each
/// other, as many as [there is room for](Self::MAX_KEPT), the oldest going first, and all ways to put them together
/// are tried.
pub struct AwaitConfirmed {
    local: Arc<Local>,
    noise: SymmetricState,
    ephemeral: PrivateKey,
    confirmed_key: Key32,
    head: [u8; HEAD_LEN],
    ids: Ids,
    from: SocketAddr,
    skew: i64,
    told: Told,
    sent: Sent,
    alice: Option<Box<Alice>>,
    pieces: Pieces,
}

/// What the sealed static key tells.
struct Alice {
    head: [u8; CONFIRMED_HEAD_LEN],
    key: PublicKey,
    /// The state that opens the payload.
    noise: SymmetricState,
}

/// After a part of SessionConfirmed.
pub enum Confirmed {
    /// Others are missing.
    Incomplete(AwaitConfirmed),
    /// All is there, and the peer is who it says.
    Established(Done),
}

/// The end of the handshake. SessionConfirmed is packet 0 of the peer, to be acknowledged at once.
pub struct Done {
    /// What both sides have.
    pub established: Established,
    /// The peer's RouterInfo, every check passed but for where it connects from
    /// ([`source_matches`](super::super::source_matches)).
    pub info: RouterInfo,
    /// Whether the peer wants it flooded.
    pub flood: bool,
    /// The blocks that followed it, none of which is of a kind that must not be there: to be handled as those
    /// of a Data packet.
    pub blocks: Vec<u8>,
    /// The second header key of SessionConfirmed, which may come again.
    pub confirmed_key: Key32,
}

impl AwaitConfirmed {
    /// The most bytes of parts that are kept.
    pub const MAX_KEPT: usize = Pieces::MAX_KEPT;

    /// What to send.
    #[must_use]
    pub fn packet(&self) -> &[u8] {
        self.sent.packet()
    }

    /// What to send again.
    pub fn again(&mut self) -> &[u8] {
        self.sent.again()
    }

    /// The ids.
    #[must_use]
    pub const fn ids(&self) -> Ids {
        self.ids
    }

    /// Where the peer is.
    #[must_use]
    pub const fn remote(&self) -> SocketAddr {
        self.from
    }

    /// Whether `packet`, no longer protected, is the SessionRequest that this answers, or was made of it:
    /// SessionCreated is to go again. Its token was used, and nothing else is to be made of it.
    ///
    /// Another request with the same ids whose token is good replaces this state: its sender followed a Retry, and
    /// forgot the request before.
    #[must_use]
    pub fn is_answer_to(&self, packet: &[u8]) -> bool {
        packet.starts_with(&self.head)
    }

    /// Bytes of parts that are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.pieces.kept()
    }

    /// A datagram, protected; afterwards its content is undefined.
    pub fn handle(
        mut self,
        now: Instant,
        unix: UnixTime,
        packet: &mut [u8],
    ) -> Outcome<Self, Confirmed> {
        if protect::destination(packet, self.local.intro()) != Ok(self.ids.ours) {
            return Outcome::Ignored(self, HandshakeError::Unexpected);
        }
        let Ok(Header::Short(ShortHeader {
            number: 0,
            kind: ShortKind::SessionConfirmed(part),
            ..
        })) = protect::unprotect(packet, self.ids.ours, &self.confirmed_key)
        else {
            return Outcome::Ignored(self, HandshakeError::Unexpected);
        };
        if usize::from(part.total()) > Pieces::MAX_TOTAL {
            return Outcome::Ignored(self, HandshakeError::Unexpected);
        }
        if part.number() == 0
            && let Err(error) = self.static_key(packet)
        {
            return Outcome::Ignored(self, error);
        }
        let skip = if part.number() == 0 { CONFIRMED_HEAD_LEN } else { SHORT_HEADER_LEN };
        let bytes = packet.get(skip..).unwrap_or_default();
        if part.total() == 1 {
            return match self.open(&mut bytes.to_vec()) {
                Some(payload) => self.finish(now, unix, payload),
                None => Outcome::Ignored(self, HandshakeError::Tag),
            };
        }
        let piece = Piece { part, bytes: bytes.to_vec() };
        let Some(newest) = self.pieces.keep(piece) else {
            return Outcome::Ignored(self, HandshakeError::Repeated);
        };
        let payload = self.pieces.assemble(newest, |whole| self.open(whole));
        match payload {
            Some(payload) => self.finish(now, unix, payload),
            None => Outcome::Next(Confirmed::Incomplete(self)),
        }
    }

    /// Opens the sealed static key at the start of the first part, unless it is the one that we know.
    fn static_key(&mut self, packet: &[u8]) -> Result<(), HandshakeError> {
        let head = packet.first_chunk::<CONFIRMED_HEAD_LEN>().ok_or(HandshakeError::Tag)?;
        if self.alice.as_ref().is_some_and(|alice| alice.head == *head) {
            return Ok(());
        }
        let mut noise = self.noise.duplicate();
        let mut sealed = *head;
        let (plain, sealed) = sealed.split_at_mut(SHORT_HEADER_LEN);
        noise.mix_hash(plain);
        let key = noise.decrypt_and_hash(sealed).map_err(|_| HandshakeError::Tag)?;
        let key = PublicKey(*key.first_chunk().ok_or(HandshakeError::Tag)?);
        let shared = self.ephemeral.diffie_hellman(&key);
        noise.mix_key(&shared.map_err(|_| HandshakeError::EphemeralKey)?);
        self.alice = Some(Box::new(Alice { head: *head, key, noise }));
        Ok(())
    }

    /// Opens the payload, sealed and put together.
    fn open(&self, sealed: &mut [u8]) -> Option<Payload> {
        let alice = self.alice.as_ref()?;
        let mut noise = alice.noise.duplicate();
        let text = noise.decrypt_and_hash(sealed).ok()?.to_vec();
        Some(Payload { text, key: alice.key, keys: DataKeys::for_responder(&noise) })
    }

    /// What came is the peer's: checks it.
    fn finish(self, now: Instant, unix: UnixTime, payload: Payload) -> Outcome<Self, Confirmed> {
        match self.check(now, unix, payload) {
            Ok(done) => Outcome::Next(Confirmed::Established(done)),
            Err(error) => Outcome::Failed(error),
        }
    }

    /// What Bob checks of SessionConfirmed ("SessionConfirmed", notes); where the peer connects from is left to
    /// whoever knows where it may.
    fn check(self, now: Instant, unix: UnixTime, payload: Payload) -> Result<Done, HandshakeError> {
        let Payload { text, key, keys } = payload;
        let (info, flood, blocks) = payload::read_confirmed(&text)?;
        let known = info.ssu2_addresses().map(|address| address.static_key);
        let local = &self.local;
        checks::router_info(&info, known, &key, local.hash(), local.net_id(), unix)?;
        let Ssu2Address { intro_key, mtu, .. } =
            address(&info, &key, self.from).ok_or(checks::Unfit::StaticKey)?;
        let rtt = self.sent.rtt(now);
        let established = Established {
            ids: self.ids,
            keys,
            intro: Key32::new(intro_key),
            remote: self.from,
            mtu,
            skew: skew_with_rtt(self.skew, rtt.unwrap_or_default()),
            rtt,
            told: self.told,
        };
        let blocks = blocks.to_vec();
        Ok(Done { established, info, flood, blocks, confirmed_key: self.confirmed_key })
    }
}

/// A payload that authenticated.
struct Payload {
    text: Vec<u8>,
    key: PublicKey,
    keys: DataKeys,
}

/// The address of a peer that uses `key` and came from `from`: one of that family, if there is one.
fn address(info: &RouterInfo, key: &PublicKey, from: SocketAddr) -> Option<Ssu2Address> {
    let family = Family::of(from.ip().to_canonical());
    let of_family = |address: &Ssu2Address| match (address.host, family) {
        (Some(host), family) => Family::of(host.ip()) == family,
        (None, Family::V4) => address.caps.v4,
        (None, Family::V6) => address.caps.v6,
    };
    let addresses = info.ssu2_addresses().filter(|address| address.static_key == *key);
    addresses.min_by_key(|address| !of_family(address))
}

fn created_payload(
    from: SocketAddr,
    unix: UnixTime,
    relay_tag: Option<u32>,
    rng: &mut Rng,
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    let room = packet_len(from).saturating_sub(PacketType::SessionCreated.overhead());
    let mut writer = Writer::new(out, room);
    writer.put(&Block::DateTime(unix.as_secs_rounded()))?;
    writer.put(&Block::Address(SocketAddr::new(from.ip().to_canonical(), from.port())))?;
    if let Some(tag) = relay_tag.filter(|tag| *tag != 0) {
        writer.put(&Block::RelayTag(tag))?;
    }
    pad(&mut writer, usize::MAX, rng)
}
