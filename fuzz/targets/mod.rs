//! The targets, by what they look at.

mod archive;
mod client;
mod connections;
mod end_to_end;
mod garlic;
mod i2np;
mod input;
mod names;
mod netdb;
mod netdb_entries;
mod netdb_net;
mod netdb_rules;
mod ntcp2_order;
mod ntcp2_peer;
mod ssu2;
mod ssu2_net;
mod stored;
mod streams;
mod transport;
mod tunnel_end;
mod tunnel_model;
mod tunnel_net;
mod tunnels;
mod world;

pub use archive::{gunzip, inflate, payload, zip_archive};
pub use client::{control_request, host_name, hosts_file, http_body, http_head};
pub use connections::client_connection;
pub use end_to_end::{datagrams, streaming_packet};
pub use garlic::{garlic_blocks, garlic_reply, garlic_router, ratchet_ops};
pub use i2np::{delivery_status, message, sized_body, tunnel_gateway};
pub use names::{
    base32_text, base64_text, certificate, elligator2_key, identity, mapping, offline, signature,
};
pub use netdb::{
    database_lookup, database_search_reply, database_store, lease_set, profile, router_info,
};
pub use netdb_net::netdb_ops;
pub use ntcp2_peer::ntcp2_peer;
pub(crate) use ssu2::header_keys as ssu2_header_keys;
pub use ssu2::{ssu2_blocks, ssu2_packet, ssu2_signed};
pub use ssu2_net::ssu2_endpoint_ops;
pub use stored::{destination_keys, router_keys};
pub use streams::streaming_ops;
pub use transport::{
    aead_providers, ntcp2_blocks, ntcp2_initiator, ntcp2_options, ntcp2_responder,
};
pub use tunnel_end::tunnel_endpoint_ops;
pub use tunnel_net::tunnel_ops;
pub use tunnels::{delivery_instructions, long_build_record, short_build_record, tunnel_message};
pub use world::world_ops;

use ramson_core::crypto::sign::{SignatureType, SigningKey};
use ramson_core::crypto::x25519::PrivateKey;
use ramson_core::rng::{Rng, Seed};
use ramson_core::wire::identity::Identity;
use std::sync::OnceLock;

/// A signature type from one byte: those that exist, and the highest that do not.
pub(crate) const fn signature_type(code: u8) -> SignatureType {
    SignatureType::from_code(if code < 0xf0 { code as u16 } else { 0xff00 | code as u16 })
}

/// A destination of ours that targets and samples share.
pub(crate) fn test_destination() -> &'static (Identity, SigningKey) {
    static DESTINATION: OnceLock<(Identity, SigningKey)> = OnceLock::new();
    DESTINATION.get_or_init(|| {
        let mut rng = Rng::new(&Seed::from_number(0xf022));
        let signing = SigningKey::generate(&mut rng);
        let encryption = PrivateKey::generate(&mut rng).public();
        let identity = Identity::new_destination(encryption, &signing.public(), &mut rng);
        (identity, signing)
    })
}
