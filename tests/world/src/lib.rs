//! Networks of whole Ramson routers in one process, in virtual time, repeatable from a seed.
//!
//! A [`World`] has one heap of (time, sequence, happening); TCP pipes with latency, that cut what they
//! carry at random places; jobs that take their time; a disk per node that a crash tears. Nothing here
//! reads a clock. What a router promises its runtime is checked with every call; an ERROR log is a
//! failure. `RAMSON_WORLD_LOG=debug` shows what the routers log, with virtual time.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test harness fails by panicking and speaks on stderr"
)]

pub mod content;
mod network;
pub mod shadow;
pub mod sim;
mod world;

pub use network::{Shape, SmallWorld, small_world};
pub use world::{
    Answer, BrowserId, Datagrams, Dependence, EPOCH, MakeConduct, Nat, NatId, NatKind, NodeId, Raw,
    RawId, TapId, Tapped, Udp, UdpId, Weather, World,
};
