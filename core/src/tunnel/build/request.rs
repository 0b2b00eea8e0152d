//! The creator's side: the message that asks hops to make a tunnel.

use super::record::{ShortKeys, seal_request};
use crate::crypto::x25519::{LowOrder, PrivateKey, PublicKey};
use crate::rng::Rng;
use crate::tunnel::Hop;
use crate::wire::hash::Hash;
use crate::wire::tunnel::{MAX_RECORDS, RECORD_HASH_LEN, Request, Role, SHORT_RECORD_LEN};
use alloc::vec::Vec;

/// Seconds that hops are asked to keep a tunnel.
const LIFETIME_SECS: u32 = 600;
/// Records in the message for short tunnels; longer ones have [`MAX_RECORDS`]. Everybody else
/// does the same, so the count tells nothing.
const FEW_RECORDS: usize = 4;
/// The most hops that fit beside the fake record of an inbound tunnel.
pub(crate) const MAX_HOPS: usize = MAX_RECORDS - 1;

/// Which way, and where the far end of the request leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The endpoint sends its reply into this tunnel of ours.
    Outbound {
        /// The gateway of the reply tunnel.
        reply_gateway: Hash,
        /// The id that this gateway knows.
        reply_tunnel: u32,
    },
    /// The last hop forwards cells, and the reply, to us.
    Inbound {
        /// The id under which we receive.
        receive: u32,
    },
}

/// A hop that was asked.
pub(crate) struct AskedHop {
    /// Who.
    pub(crate) hash: Hash,
    /// The id under which it receives.
    pub(crate) receive: u32,
    /// Where its record is.
    pub(crate) slot: usize,
    /// What it and we derived.
    pub(crate) keys: ShortKeys,
}

/// A request that waits for its reply.
pub(crate) struct Asked {
    /// In the direction of the messages.
    pub(crate) hops: Vec<AskedHop>,
    /// Records in the message.
    pub(crate) records: usize,
}

/// A path that cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadPath {
    /// Zero hops need no request, and more than seven do not fit.
    #[error("{0} hops cannot be asked")]
    Length(usize),
    /// The key of a hop is worthless.
    #[error("key of a hop is of low order")]
    Key,
    /// There is no tunnel to send the request through, or to get the reply through.
    #[error("no tunnel for the request or its reply")]
    NoWay,
}

impl From<LowOrder> for BadPath {
    fn from(_: LowOrder) -> Self {
        Self::Key
    }
}

/// Makes the body of a ShortTunnelBuild message; `reply` is the id by which the answer will be
/// known.
pub(crate) fn ask(
    local: &Hash,
    path: &[Hop],
    way: Way,
    minutes: u32,
    reply: u32,
    rng: &mut Rng,
) -> Result<(Vec<u8>, Asked), BadPath> {
    if path.is_empty() || path.len() > MAX_HOPS {
        return Err(BadPath::Length(path.len()));
    }
    let fakes = usize::from(matches!(way, Way::Inbound { .. }));
    let records = if path.len() + fakes <= FEW_RECORDS { FEW_RECORDS } else { MAX_RECORDS };
    let mut slots: Vec<usize> = (0..records).collect();
    rng.shuffle(&mut slots);

    let ids: Vec<u32> = path.iter().map(|_| rng.nonzero_u32()).collect();
    let mut filled: Vec<(usize, Vec<u8>)> = Vec::with_capacity(records);
    let mut hops: Vec<AskedHop> = Vec::with_capacity(path.len());
    for (i, ((hop, receive), slot)) in path.iter().zip(&ids).zip(&slots).enumerate() {
        let last = i + 1 == path.len();
        let next_hop = path.get(i + 1).zip(ids.get(i + 1)).map(|(next, id)| (next.hash, *id));
        let (next, next_tunnel) = match (next_hop, way) {
            (Some(next), _) => next,
            (None, Way::Outbound { reply_gateway, reply_tunnel }) => (reply_gateway, reply_tunnel),
            (None, Way::Inbound { receive }) => (*local, receive),
        };
        let role = match way {
            Way::Inbound { .. } if i == 0 => Role::Gateway,
            Way::Outbound { .. } if last => Role::Endpoint,
            Way::Inbound { .. } | Way::Outbound { .. } => Role::Participant,
        };
        let request = Request {
            receive_tunnel: *receive,
            next_tunnel,
            next,
            role,
            layer: 0,
            minutes,
            lifetime: LIFETIME_SECS,
            next_message: if last { reply } else { rng.nonzero_u32() },
        };
        let mut record = Vec::with_capacity(SHORT_RECORD_LEN);
        let state = seal_request(&hop.hash, &hop.key, &request.encode_short(), rng, &mut record)?;
        let keys = ShortKeys::derive(&state, role);
        hops.push(AskedHop { hash: hop.hash, receive: *receive, slot: *slot, keys });
        filled.push((*slot, record));
    }
    for (i, slot) in slots.iter().skip(path.len()).enumerate() {
        let fake = if i < fakes { fake_record(local, rng) } else { random_record(rng) };
        filled.push((*slot, fake));
    }
    filled.sort_by_key(|(slot, _)| *slot);
    let mut body = Vec::with_capacity(1 + records * SHORT_RECORD_LEN);
    body.push(records as u8);
    body.extend(filled.into_iter().flat_map(|(_, record)| record));

    // A hop masks all records but its own before it passes the message on. Done here first for
    // every later hop, and for the fake one of an inbound tunnel, that makes each record
    // readable exactly when it gets there.
    let fake_slots: Vec<usize> = slots.iter().skip(path.len()).take(fakes).copied().collect();
    if let Ok(all) = crate::wire::tunnel::counted_records::<SHORT_RECORD_LEN>(&mut body) {
        for (i, hop) in hops.iter().enumerate().rev() {
            let later = hops.iter().skip(i + 1).map(|h| h.slot);
            for slot in later.chain(fake_slots.iter().copied()) {
                if let Some(record) = all.get_mut(slot) {
                    hop.keys.mask(slot, record);
                }
            }
        }
    }
    Ok((body, Asked { hops, records }))
}

/// A record that looks as if we were one more hop, so that the last hop of an inbound tunnel
/// cannot tell that the creator comes next.
fn fake_record(local: &Hash, rng: &mut Rng) -> Vec<u8> {
    let mut record = Vec::with_capacity(SHORT_RECORD_LEN);
    record.extend(local.as_bytes().iter().take(RECORD_HASH_LEN));
    let PublicKey(ephemeral) = PrivateKey::generate(rng).public();
    record.extend_from_slice(&ephemeral);
    let random = random_record(rng);
    record.extend(random.iter().skip(record.len()));
    record
}

fn random_record(rng: &mut Rng) -> Vec<u8> {
    rng.bytes::<SHORT_RECORD_LEN>().to_vec()
}
