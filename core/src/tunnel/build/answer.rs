//! The participant's side: reading our record of a build message, and answering in it.

use super::record::{self, NotOpened, ShortKeys};
use crate::crypto::aead::TAG_LEN;
use crate::crypto::aes::Encryptor;
use crate::crypto::noise::SymmetricState;
use crate::crypto::x25519::{PrivateKey, PublicKey};
use crate::time::{Instant, UnixTime};
use crate::tunnel::layer::LayerKeys;
use crate::tunnel::once::Once;
use crate::wire::codec::DecodeError;
use crate::wire::hash::Hash;
use crate::wire::i2np::{Message, MessageType};
use crate::wire::tunnel::{
    LONG_RECORD_LEN, LongRequest, MAX_RECORDS, Request, Role, SHORT_RECORD_LEN, counted_records,
    write_reply,
};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// A request that waited longer than this is not worth answering: its creator gives up soon,
/// and a queue of such requests would only make all later ones late too.
pub const MAX_WAIT: Duration = Duration::from_millis(1250);

/// How the records of a build message are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// ShortTunnelBuild.
    Short,
    /// VariableTunnelBuild.
    LongCounted,
    /// TunnelBuild: eight records, no count.
    LongFixed,
}

impl Layout {
    /// Of the requests that we answer.
    pub(crate) fn of(kind: MessageType) -> Option<Self> {
        if kind == MessageType::SHORT_TUNNEL_BUILD {
            Some(Self::Short)
        } else if kind == MessageType::VARIABLE_TUNNEL_BUILD {
            Some(Self::LongCounted)
        } else if kind == MessageType::TUNNEL_BUILD {
            Some(Self::LongFixed)
        } else {
            None
        }
    }

    /// The type of the request as it goes on.
    const fn request_kind(self) -> MessageType {
        match self {
            Self::Short => MessageType::SHORT_TUNNEL_BUILD,
            Self::LongCounted => MessageType::VARIABLE_TUNNEL_BUILD,
            Self::LongFixed => MessageType::TUNNEL_BUILD,
        }
    }

    /// The type of the reply that an outbound endpoint sends.
    const fn reply_kind(self) -> MessageType {
        match self {
            Self::Short => MessageType::OUTBOUND_TUNNEL_BUILD_REPLY,
            Self::LongCounted => MessageType::VARIABLE_TUNNEL_BUILD_REPLY,
            Self::LongFixed => MessageType::TUNNEL_BUILD_REPLY,
        }
    }
}

/// Closed CPU work: one Diffie-Hellman and one decryption. Pure, so it may run anywhere.
pub struct BuildJob {
    pub(crate) key: Arc<PrivateKey>,
    pub(crate) public: PublicKey,
    pub(crate) from: Option<Hash>,
    pub(crate) received: Instant,
    pub(crate) layout: Layout,
    pub(crate) slot: usize,
    pub(crate) body: Vec<u8>,
}

/// The outcome of a [`BuildJob`], for [`Tunnels::handle_job`](crate::tunnel::Tunnels::handle_job).
pub struct BuildJobDone {
    pub(crate) from: Option<Hash>,
    pub(crate) received: Instant,
    pub(crate) opened: Result<Opened, BadRequest>,
}

/// Why a request gets no answer. Always the creator's fault, or damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRequest {
    /// The message or the cleartext does not parse.
    #[error("request does not parse: {0}")]
    Decode(#[from] DecodeError),
    /// No record names us.
    #[error("no record is ours")]
    NotForUs,
    /// Our record does not decrypt.
    #[error("our record does not open")]
    NotOpened,
    /// We would be our own next hop.
    #[error("next hop is this router")]
    NextIsUs,
    /// It came inside garlic, though we would not be an inbound gateway.
    #[error("request for a later hop came wrapped")]
    Wrapped,
    /// The message would go back where it came from.
    #[error("next hop is the previous one")]
    NextIsPrevious,
    /// It waited too long, here.
    #[error("too late")]
    Late,
    /// Made long ago, or in the future: perhaps a replay.
    #[error("request time is off")]
    Time,
}

impl From<NotOpened> for BadRequest {
    fn from(_: NotOpened) -> Self {
        Self::NotOpened
    }
}

impl core::fmt::Debug for BuildJob {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("BuildJob").field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl core::fmt::Debug for BuildJobDone {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("BuildJobDone").field("ok", &self.opened.is_ok()).finish_non_exhaustive()
    }
}

impl BuildJob {
    /// True when it is not worth running any more.
    #[must_use]
    pub fn is_stale(&self, now: Instant) -> bool {
        now.saturating_since(self.received) > MAX_WAIT
    }

    /// Does the work. Microseconds: one X25519.
    #[must_use]
    pub fn run(self) -> BuildJobDone {
        let (from, received) = (self.from, self.received);
        BuildJobDone { from, received, opened: self.open() }
    }

    /// Instead of [`Self::run`] when it [is stale](Self::is_stale): every job must come back.
    #[must_use]
    pub fn skip(self) -> BuildJobDone {
        BuildJobDone { from: self.from, received: self.received, opened: Err(BadRequest::Late) }
    }

    fn open(mut self) -> Result<Opened, BadRequest> {
        let own = own_record(self.layout, self.slot, &mut self.body)?;
        // In place: what stays of the cleartext is padding of the reply, and the creator's own.
        let (cleartext, state) = record::open_request(&self.key, &self.public, own)?;
        let (request, secrets) = match self.layout {
            Layout::Short => {
                let request = Request::decode_short(cleartext)?;
                let keys = ShortKeys::derive(&state, request.role);
                (request, Secrets::Short(keys))
            }
            Layout::LongCounted | Layout::LongFixed => {
                let long = LongRequest::decode(cleartext)?;
                (long.request, Secrets::Long(long, state))
            }
        };
        Ok(Opened { layout: self.layout, slot: self.slot, body: self.body, request, secrets })
    }
}

/// Finds the record that names `local`.
pub(crate) fn find_own(layout: Layout, local: &Hash, body: &mut [u8]) -> Result<usize, BadRequest> {
    let position = match layout {
        Layout::Short => {
            counted_records::<SHORT_RECORD_LEN>(body)?.iter().position(|r| record::is_for(r, local))
        }
        Layout::LongCounted | Layout::LongFixed => {
            long_records(layout, body)?.iter().position(|r| record::is_for(r, local))
        }
    };
    position.ok_or(BadRequest::NotForUs)
}

fn own_record(layout: Layout, slot: usize, body: &mut [u8]) -> Result<&mut [u8], BadRequest> {
    let record = match layout {
        Layout::Short => {
            counted_records::<SHORT_RECORD_LEN>(body)?.get_mut(slot).map(|r| r.as_mut_slice())
        }
        Layout::LongCounted | Layout::LongFixed => {
            long_records(layout, body)?.get_mut(slot).map(|r| r.as_mut_slice())
        }
    };
    record.ok_or(BadRequest::NotForUs)
}

fn long_records(
    layout: Layout,
    body: &mut [u8],
) -> Result<&mut [[u8; LONG_RECORD_LEN]], DecodeError> {
    if layout == Layout::LongFixed {
        let (records, rest) = body.as_chunks_mut();
        if records.len() < MAX_RECORDS {
            return Err(DecodeError::Truncated);
        }
        if records.len() > MAX_RECORDS || !rest.is_empty() {
            return Err(DecodeError::Trailing);
        }
        Ok(records)
    } else {
        counted_records(body)
    }
}

/// A request that we could read.
pub(crate) struct Opened {
    layout: Layout,
    slot: usize,
    body: Vec<u8>,
    pub(crate) request: Request,
    secrets: Secrets,
}

enum Secrets {
    Short(ShortKeys),
    Long(LongRequest, SymmetricState),
}

/// What becomes of an answered request.
pub(crate) struct Answered {
    /// To pass on or to send back; its id is what the request says.
    pub(crate) message: Message,
    /// For the cells, if we accepted.
    pub(crate) layer: LayerKeys,
    /// Wraps the reply of an outbound endpoint.
    pub(crate) garlic: Option<Once>,
}

impl Opened {
    /// Writes `code` into our record, encrypts all records, and gives the message for the next
    /// hop.
    pub(crate) fn answer(mut self, code: u8, expires: UnixTime) -> Result<Answered, BadRequest> {
        let endpoint = self.request.role == Role::Endpoint;
        let (layer, garlic) = match self.secrets {
            Secrets::Short(keys) => {
                let records = counted_records::<SHORT_RECORD_LEN>(&mut self.body)?;
                for (slot, record) in records.iter_mut().enumerate() {
                    if slot == self.slot {
                        if let Some((reply, _tag)) = record.split_last_chunk_mut::<TAG_LEN>() {
                            write_reply(reply, code);
                        }
                        keys.seal_reply(slot, record);
                    } else {
                        keys.mask(slot, record);
                    }
                }
                (keys.layer, keys.garlic)
            }
            Secrets::Long(long, state) => {
                let reply_key = Encryptor::new(long.reply_key.as_bytes());
                for (slot, record) in
                    long_records(self.layout, &mut self.body)?.iter_mut().enumerate()
                {
                    if slot == self.slot {
                        if let Some((reply, _tag)) = record.split_last_chunk_mut::<TAG_LEN>() {
                            write_reply(reply, code);
                        }
                        record::seal_long_reply(&state, record);
                    } else {
                        record::mask_long(&reply_key, &long.reply_iv, record);
                    }
                }
                (LayerKeys { layer: long.layer_key, iv: long.iv_key }, None)
            }
        };
        let kind = if endpoint { self.layout.reply_kind() } else { self.layout.request_kind() };
        let message = Message { kind, id: self.request.next_message, expires, body: self.body };
        Ok(Answered { message, layer, garlic })
    }
}
