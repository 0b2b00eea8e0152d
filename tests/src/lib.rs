//! The world around a router: real i2pd peers, small HTTP ends, a browser, and one scenario under every
//! runtime.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "a test harness fails by panicking, speaks on stderr and times real routers"
)]

pub mod agree;
pub mod browser;
pub mod http;
pub mod i2pd;
pub mod namespace;
pub mod needs;
pub mod node;
pub mod png;
pub mod ports;
pub mod program;
pub mod testnet;
