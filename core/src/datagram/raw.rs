//! Datagrams that nobody signs: raw ones and the third kind.

use super::{DatagramError, Received, Sender};
use crate::wire::datagram::Datagram3;
use crate::wire::mapping::Mapping;

/// A raw datagram is its payload.
pub(super) fn receive(bytes: &[u8]) -> Received<'_> {
    Received { from: Sender::Unknown, options: Mapping::new(), payload: bytes }
}

pub(super) fn receive_3(bytes: &[u8]) -> Result<Received<'_>, DatagramError> {
    let Datagram3 { from, options, payload } = Datagram3::decode(bytes)?;
    Ok(Received { from: Sender::Claimed(from), options, payload })
}
