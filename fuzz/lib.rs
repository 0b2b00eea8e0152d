//! Fuzz targets as plain functions, so that corpora replay without a fuzzer.
//!
//! Each target takes any bytes and panics when an invariant breaks. `tests/replay.rs` runs all of
//! them over the corpus, cut and damaged, on a stable compiler; `fuzz_targets/` hands them to
//! libFuzzer, `bin/fuzz_run.rs` to a mutation loop of our own. See `README.md`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a fuzz target reports by panicking"
)]

pub mod mutate;
pub mod samples;
mod targets;

pub use targets::*;

macro_rules! table {
    ($($name:ident)*) => {
        /// All targets by name.
        pub const TARGETS: &[(&str, fn(&[u8]))] = &[$((stringify!($name), $name)),*];
    };
}

table! {
    aead_providers base32_text base64_text certificate client_connection control_request
    database_lookup database_search_reply database_store datagrams delivery_instructions
    delivery_status destination_keys elligator2_key garlic_blocks garlic_reply garlic_router
    gunzip host_name hosts_file http_body http_head identity inflate lease_set long_build_record
    mapping message netdb_ops ntcp2_blocks ntcp2_initiator ntcp2_options ntcp2_peer ntcp2_responder offline payload
    profile ratchet_ops router_info router_keys short_build_record signature sized_body
    ssu2_blocks ssu2_endpoint_ops ssu2_packet ssu2_signed streaming_ops streaming_packet tunnel_endpoint_ops tunnel_gateway tunnel_message tunnel_ops
    world_ops zip_archive
}

/// The target called `name`.
#[must_use]
pub fn target(name: &str) -> Option<fn(&[u8])> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, run)| *run)
}
