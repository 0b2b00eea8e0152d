//! Alice: the side that connects.

use super::super::{Local, Remote};
use super::confirm::{self, SessionConfirmed};
use super::payload::{self, Content, Told};
use super::{
    Established, HANDSHAKE_MTU, HandshakeError, Ids, Outcome, Sent, acceptable, created_key,
    family, long_header, pad, retry,
};
use crate::crypto::Key32;
use crate::crypto::noise::{Protocol, SymmetricState};
use crate::crypto::x25519::{PrivateKey, PublicKey};
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};
use crate::transport::checks::{skew, tolerable};
use crate::wire::codec::Put;
use crate::wire::router_info::RouterInfo;
use crate::wire::ssu2::{
    Block, Header, KEY_LEN, LONG_HEADER_LEN, LongHeader, LongKind, PacketType, Reason, WriteError,
    Writer, protect,
};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU64;
use core::time::Duration;

/// Retries that an attempt takes: the first token may have come from a forger or be too old when it arrives.
pub const MAX_RETRIES: u8 = 3;

/// What stays the same in an attempt.
struct Attempt {
    local: Arc<Local>,
    remote: Remote,
    intro: Key32,
    ids: Ids,
    relay_tag: bool,
    /// The RouterInfo block, as it goes into SessionConfirmed.
    confirmed: Vec<u8>,
    retries: u8,
    rtt: Option<Duration>,
    told: Told,
}

/// Nothing was sent yet.
pub struct Start(Box<Attempt>);

impl Start {
    /// `router_info` is ours. It goes as it is if one packet has room for it, otherwise compressed, and in two
    /// packets if it must be. With `relay_tag` the peer is asked to be an introducer.
    pub fn new(
        local: Arc<Local>,
        remote: Remote,
        router_info: &RouterInfo,
        ids: Ids,
        relay_tag: bool,
    ) -> Result<Self, HandshakeError> {
        let confirmed = confirm::router_info_block(router_info.as_bytes(), remote.at)?;
        let intro = Key32::new(remote.intro);
        let (retries, rtt, told) = (0, None, Told::default());
        Ok(Self(Box::new(Attempt {
            local,
            remote,
            intro,
            ids,
            relay_tag,
            confirmed,
            retries,
            rtt,
            told,
        })))
    }

    /// Makes a TokenRequest.
    pub fn ask_token(
        self,
        now: Instant,
        unix: UnixTime,
        rng: &mut Rng,
    ) -> Result<AwaitRetry, HandshakeError> {
        let Self(attempt) = self;
        let net_id = attempt.local.net_id();
        let header = long_header(LongKind::TokenRequest, attempt.ids, 0, net_id, rng);
        let mut payload = Vec::with_capacity(80);
        request_payload(&attempt.remote, false, unix, rng, &mut payload)
            .map_err(|_| HandshakeError::Blocks)?;
        let packet = retry::seal(&header, &attempt.intro, payload);
        Ok(AwaitRetry { attempt, sent: Sent::new(packet, now) })
    }

    /// Makes a SessionRequest with a token that the peer gave us before, or its introducer now.
    pub fn request(
        self,
        token: NonZeroU64,
        now: Instant,
        unix: UnixTime,
        rng: &mut Rng,
    ) -> Result<AwaitCreated, HandshakeError> {
        AwaitCreated::new(self.0, token, now, unix, rng)
    }
}

/// A TokenRequest was sent.
pub struct AwaitRetry {
    attempt: Box<Attempt>,
    sent: Sent,
}

impl AwaitRetry {
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
    pub fn ids(&self) -> Ids {
        self.attempt.ids
    }

    /// The peer's intro key, which masks the ids in what it answers.
    #[must_use]
    pub fn intro(&self) -> &Key32 {
        &self.attempt.intro
    }

    /// A datagram, protected; afterwards its content is undefined.
    pub fn handle(
        mut self,
        now: Instant,
        unix: UnixTime,
        packet: &mut [u8],
        rng: &mut Rng,
    ) -> Outcome<Self, AwaitCreated> {
        let Some(header) = retry_header(&self.attempt, packet) else {
            return Outcome::Ignored(self, HandshakeError::Unexpected);
        };
        let token = match self.attempt.retry(&header, None, now, unix, &self.sent, packet) {
            Ok(Some(token)) => token,
            Ok(None) => return Outcome::Ignored(self, HandshakeError::Unexpected),
            Err(Verdict::Ignore(error)) => return Outcome::Ignored(self, error),
            Err(Verdict::Fail(error)) => return Outcome::Failed(error),
        };
        match AwaitCreated::new(self.attempt, token, now, unix, rng) {
            Ok(next) => Outcome::Next(next),
            Err(error) => Outcome::Failed(error),
        }
    }
}

/// A SessionRequest was sent.
pub struct AwaitCreated {
    attempt: Box<Attempt>,
    noise: SymmetricState,
    ephemeral: PrivateKey,
    created_key: Key32,
    token: NonZeroU64,
    sent: Sent,
}

/// What answers a SessionRequest.
pub enum Answered {
    /// A Retry: there is another SessionRequest to send, with another key and the same ids.
    Retried(AwaitCreated),
    /// SessionCreated: SessionConfirmed is to be sent.
    Established(Done),
}

/// The end of the handshake, once SessionConfirmed arrives.
pub struct Done {
    /// What both sides have.
    pub established: Established,
    /// SessionConfirmed, in one packet or two: to be sent now, and again until the peer acknowledges packet 0.
    pub confirmed: Vec<Vec<u8>>,
}

/// What an error means to the state.
enum Verdict {
    Ignore(HandshakeError),
    Fail(HandshakeError),
}

impl AwaitCreated {
    fn new(
        attempt: Box<Attempt>,
        token: NonZeroU64,
        now: Instant,
        unix: UnixTime,
        rng: &mut Rng,
    ) -> Result<Self, HandshakeError> {
        let Attempt { local, remote, intro, ids, relay_tag, .. } = &*attempt;
        let mut noise = SymmetricState::new(Protocol::Ssu2, &remote.static_key);
        let ephemeral = PrivateKey::generate(rng);
        let x = ephemeral.public();
        let mut packet = Vec::with_capacity(192);
        long_header(LongKind::SessionRequest, *ids, token.get(), local.net_id(), rng)
            .encode(&mut packet);
        noise.mix_hash(&packet);
        noise.mix_hash(&x.0);
        let shared = ephemeral.diffie_hellman(&remote.static_key);
        noise.mix_key(&shared.map_err(|_| HandshakeError::RemoteKey)?);

        packet.put(&x.0);
        let sealed = packet.len();
        request_payload(remote, *relay_tag, unix, rng, &mut packet)
            .map_err(|_| HandshakeError::Blocks)?;
        noise.encrypt_and_hash(&mut packet, sealed);
        let protected = protect::protect(&mut packet, intro, intro);
        protected.map_err(HandshakeError::Payload)?;
        let created_key = created_key(&noise);
        let sent = Sent::new(packet, now);
        Ok(Self { attempt, noise, ephemeral, created_key, token, sent })
    }

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
    pub fn ids(&self) -> Ids {
        self.attempt.ids
    }

    /// The peer's intro key, which masks the ids in what it answers.
    #[must_use]
    pub fn intro(&self) -> &Key32 {
        &self.attempt.intro
    }

    /// A datagram, protected; afterwards its content is undefined.
    ///
    /// A Retry is followed, or believed, when the token was one of before, or when the request had to go
    /// [again](Self::again): any other is the answer to a question that went twice, or somebody else's.
    pub fn handle(
        mut self,
        now: Instant,
        unix: UnixTime,
        packet: &mut [u8],
        rng: &mut Rng,
    ) -> Outcome<Self, Answered> {
        let result = match retry_header(&self.attempt, packet) {
            Some(header) => {
                let used = Some(self.token);
                match self.attempt.retry(&header, used, now, unix, &self.sent, packet) {
                    Ok(Some(token)) => {
                        return match Self::new(self.attempt, token, now, unix, rng) {
                            Ok(next) => Outcome::Next(Answered::Retried(next)),
                            Err(error) => Outcome::Failed(error),
                        };
                    }
                    Ok(None) => Err(Verdict::Ignore(HandshakeError::Unexpected)),
                    Err(verdict) => Err(verdict),
                }
            }
            None => self.created(now, unix, packet, rng),
        };
        match result {
            Ok(done) => Outcome::Next(Answered::Established(done)),
            Err(Verdict::Ignore(error)) => Outcome::Ignored(self, error),
            Err(Verdict::Fail(error)) => Outcome::Failed(error),
        }
    }

    /// Opens SessionCreated, and makes SessionConfirmed.
    fn created(
        &self,
        now: Instant,
        unix: UnixTime,
        packet: &mut [u8],
        rng: &mut Rng,
    ) -> Result<Done, Verdict> {
        let Attempt { local, remote, ids, .. } = &*self.attempt;
        let unexpected = || Verdict::Ignore(HandshakeError::Unexpected);
        if protect::destination(packet, &self.attempt.intro) != Ok(ids.ours) {
            return Err(unexpected());
        }
        let Ok(Header::Long(header)) = protect::unprotect(packet, ids.ours, &self.created_key)
        else {
            return Err(unexpected());
        };
        if header.kind != LongKind::SessionCreated
            || header.source != ids.theirs
            || !acceptable(&header, local.net_id())
        {
            return Err(unexpected());
        }
        let tag = || Verdict::Ignore(HandshakeError::Tag);
        let (head, rest) = packet.split_at_mut_checked(LONG_HEADER_LEN).ok_or_else(tag)?;
        let (y, sealed) = rest.split_first_chunk_mut::<KEY_LEN>().ok_or_else(tag)?;
        let y = PublicKey(*y);
        let mut noise = self.noise.duplicate();
        noise.mix_hash(head);
        noise.mix_hash(&y.0);
        let shared = self.ephemeral.diffie_hellman(&y);
        noise.mix_key(&shared.map_err(|_| Verdict::Ignore(HandshakeError::EphemeralKey))?);
        let payload = noise.decrypt_and_hash(sealed).map_err(|_| tag())?;

        // Only Bob can have made it.
        let Content { date, refusal, told } =
            payload::read(header.kind, payload).map_err(Verdict::Fail)?;
        let rtt = self.sent.rtt(now);
        let skew = skew(date, unix, rtt.unwrap_or_default());
        check_clock(skew, refusal).map_err(Verdict::Fail)?;
        let told = Told { address: told.address.or(self.attempt.told.address), ..told };
        let packets = SessionConfirmed {
            local,
            at: remote.at,
            intro: &self.attempt.intro,
            to: ids.theirs,
            block: &self.attempt.confirmed,
        };
        let (keys, confirmed) = packets.make(noise, &y, rng).map_err(Verdict::Fail)?;
        let established = Established {
            ids: *ids,
            keys,
            intro: self.attempt.intro.duplicate(),
            remote: remote.at,
            mtu: remote.mtu,
            skew,
            rtt: rtt.or(self.attempt.rtt),
            told,
        };
        Ok(Done { established, confirmed })
    }
}

impl Attempt {
    /// Opens a Retry for this attempt, which uses the token `used` by now. `None` when it has neither a token nor
    /// a refusal. `sent` is what it may answer.
    fn retry(
        &mut self,
        header: &LongHeader,
        used: Option<NonZeroU64>,
        now: Instant,
        unix: UnixTime,
        sent: &Sent,
        packet: &mut [u8],
    ) -> Result<Option<NonZeroU64>, Verdict> {
        if self.retries >= MAX_RETRIES {
            return Err(Verdict::Ignore(HandshakeError::Retries));
        }
        // A token of a Retry is good, and SessionCreated on its way, unless that does not come.
        if used.is_some() && self.retries > 0 && sent.at.is_some() {
            return Err(Verdict::Ignore(HandshakeError::Repeated));
        }
        if protect::unprotect(packet, self.ids.ours, &self.intro).is_err() {
            return Err(Verdict::Ignore(HandshakeError::Unexpected));
        }
        let Content { date, refusal, told } =
            retry::open(header, &self.intro, packet).map_err(Verdict::Ignore)?;
        // A later one may answer a question before the latest.
        let rtt = sent.rtt(now).filter(|_| self.retries == 0);
        let skew = skew(date, unix, rtt.unwrap_or_default());
        check_clock(skew, refusal).map_err(Verdict::Fail)?;
        let Some(token) = NonZeroU64::new(header.token) else { return Ok(None) };
        if used == Some(token) {
            return Err(Verdict::Ignore(HandshakeError::Repeated));
        }
        self.retries += 1;
        self.rtt = rtt.or(self.rtt);
        self.told.address = told.address.or(self.told.address);
        Ok(Some(token))
    }
}

/// The header of a packet that is a Retry for this attempt.
fn retry_header(attempt: &Attempt, packet: &[u8]) -> Option<LongHeader> {
    let ids = attempt.ids;
    let to = protect::destination(packet, &attempt.intro).ok()?;
    let Ok(Header::Long(header)) = protect::peek(packet, to, &attempt.intro) else {
        return None;
    };
    let ours = header.kind == LongKind::Retry
        && header.destination == ids.ours
        && header.source == ids.theirs
        && acceptable(&header, attempt.local.net_id());
    ours.then_some(header)
}

/// A clock that is far off comes first: it is why others refuse, and what we have to know.
fn check_clock(skew: i64, refusal: Option<Reason>) -> Result<(), HandshakeError> {
    if !tolerable(skew) {
        return Err(HandshakeError::ClockSkew(skew));
    }
    refusal.map_or(Ok(()), |reason| Err(HandshakeError::Refused(reason)))
}

/// Appends the payload of TokenRequest and SessionRequest.
fn request_payload(
    remote: &Remote,
    relay_tag: bool,
    unix: UnixTime,
    rng: &mut Rng,
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    let kind = PacketType::SessionRequest;
    let mut writer = Writer::new(out, kind.max_payload(HANDSHAKE_MTU, family(remote.at)));
    writer.put(&Block::DateTime(unix.as_secs_rounded()))?;
    if relay_tag {
        writer.put(&Block::RelayTagRequest)?;
    }
    pad(&mut writer, usize::MAX, rng)
}
