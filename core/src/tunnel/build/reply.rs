//! The creator's side: what the hops answered.

use super::request::Asked;
use crate::wire::codec::DecodeError;
use crate::wire::tunnel::{ACCEPT, SHORT_RECORD_LEN, counted_records, reply_code};
use alloc::vec::Vec;

/// Why a reply is worthless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadReply {
    /// The message is damaged, or has not the records that we sent.
    #[error("reply does not parse: {0}")]
    Decode(#[from] DecodeError),
    /// The record of the hop with this position does not open: that hop or one after it damaged
    /// the message.
    #[error("record of hop {0} does not open")]
    Record(usize),
}

/// The code of each hop, in the order of the path; [`ACCEPT`] everywhere means that there is a
/// tunnel.
pub(crate) fn codes(asked: &Asked, body: &mut [u8]) -> Result<Vec<u8>, BadReply> {
    let records = counted_records::<SHORT_RECORD_LEN>(body)?;
    if records.len() != asked.records {
        return Err(DecodeError::Invalid("number of build records").into());
    }
    let mut codes = Vec::with_capacity(asked.hops.len());
    for (i, hop) in asked.hops.iter().enumerate().rev() {
        let own = records.get_mut(hop.slot).ok_or(BadReply::Record(i))?;
        let reply = hop.keys.open_reply(hop.slot, own).map_err(|_| BadReply::Record(i))?;
        codes.push(reply_code(reply).unwrap_or(ACCEPT));
        for earlier in asked.hops.iter().take(i) {
            if let Some(record) = records.get_mut(earlier.slot) {
                hop.keys.mask(earlier.slot, record);
            }
        }
    }
    codes.reverse();
    Ok(codes)
}
