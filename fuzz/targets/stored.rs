//! Files of our own that may come back damaged.

use ramson_core::crypto::hash::sha256;
use ramson_core::keys::{DestinationKeys, RouterKeys};

/// The router's key file: as it is, and with a checksum that fits.
pub fn router_keys(data: &[u8]) {
    for bytes in [data.to_vec(), [data, &sha256(data)].concat()] {
        if let Ok(keys) = RouterKeys::decode(&bytes) {
            assert_eq!(keys.encode().as_slice(), bytes);
        }
    }
}

/// A destination's key file, also as other routers write it.
pub fn destination_keys(data: &[u8]) {
    let Ok(keys) = DestinationKeys::decode(data) else { return };
    let bytes = keys.encode();
    assert_eq!(bytes.len(), data.len());
    let again = DestinationKeys::decode(&bytes).map_err(|_| ()).unwrap();
    assert_eq!(again.identity, keys.identity);
    assert_eq!(again.encode(), bytes);
}
