//! Datagrams that say who sent them.

use super::{DatagramError, MAX_PAYLOAD_LEN, Received, Sender};
use crate::crypto::hash::sha256;
use crate::crypto::sign::{SignatureType, SigningKey};
use crate::time::UnixTime;
use crate::wire::codec::Put;
use crate::wire::datagram::{Datagram1, Datagram2, Datagram3};
use crate::wire::hash::Hash;
use crate::wire::identity::Identity;
use crate::wire::mapping::Mapping;
use crate::wire::payload::Protocol;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Makes datagrams of one local destination, whose key is Ed25519.
#[derive(Clone)]
pub struct Signer {
    local: Identity,
    key: Arc<SigningKey>,
}

impl Signer {
    /// For `local`, whose key is `key`.
    #[must_use]
    pub const fn new(local: Identity, key: Arc<SigningKey>) -> Self {
        Self { local, key }
    }

    /// Appends a datagram of the kind that `protocol` names, for the destination `to`. Options
    /// go into the kinds that have them.
    pub fn encode(
        &self,
        protocol: Protocol,
        to: &Hash,
        options: &Mapping,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), DatagramError> {
        if payload.len() > MAX_PAYLOAD_LEN {
            return Err(DatagramError::TooLarge);
        }
        match protocol {
            Protocol::DATAGRAM => {
                let signature = self.key.sign(payload);
                let from = self.local.clone();
                Datagram1 { from, signature: &signature, payload }.encode(out);
            }
            Protocol::DATAGRAM2 => {
                let mut signed = to.as_bytes().to_vec();
                Datagram2::encode_signed(options, None, payload, &mut signed);
                let (_, sent) = signed.split_at_checked(32).unwrap_or_default();
                out.put(self.local.as_bytes());
                out.put(sent);
                out.put(&self.key.sign(&signed));
            }
            Protocol::DATAGRAM3 => {
                let options = options.clone();
                Datagram3 { from: self.local.hash(), options, payload }.encode(out);
            }
            Protocol::RAW => out.put(payload),
            other => return Err(DatagramError::NotADatagram(other)),
        }
        Ok(())
    }
}

pub(super) fn receive_1(bytes: &[u8]) -> Result<Received<'_>, DatagramError> {
    let Datagram1 { from, signature, payload } = Datagram1::decode(bytes)?;
    let key = from.signing_key();
    // Only with DSA the signature is over the hash (specification `datagrams`, Datagram1).
    let verified = if key.kind() == SignatureType::DsaSha1 {
        key.verify(&sha256(payload), signature)
    } else {
        key.verify(payload, signature)
    };
    verified.map_err(|_| DatagramError::BadSignature)?;
    Ok(Received { from: Sender::Verified(from), options: Mapping::new(), payload })
}

pub(super) fn receive_2<'a>(
    bytes: &'a [u8],
    local: &Hash,
    unix: UnixTime,
) -> Result<Received<'a>, DatagramError> {
    let datagram = Datagram2::decode(bytes)?;
    let mut signed = Vec::with_capacity(32 + datagram.signed.len());
    signed.put(local.as_bytes());
    signed.put(datagram.signed);
    let long_term = datagram.from.signing_key();
    let key = match &datagram.offline {
        Some(offline) if offline.expires <= unix => return Err(DatagramError::Expired),
        Some(offline) => {
            offline.verify(long_term).map_err(|_| DatagramError::BadSignature)?;
            &offline.key
        }
        None => long_term,
    };
    key.verify(&signed, datagram.signature).map_err(|_| DatagramError::BadSignature)?;
    Ok(Received {
        from: Sender::Verified(datagram.from),
        options: datagram.options,
        payload: datagram.payload,
    })
}
