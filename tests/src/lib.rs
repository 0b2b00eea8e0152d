//! The world around a router: whole networks in virtual time, real i2pd peers, small HTTP ends, a
//! browser, and one scenario under every runtime.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "a test harness fails by panicking, speaks on stderr and times real routers"
)]

#[cfg(unix)]
pub mod agree;
#[cfg(unix)]
pub mod browser;
pub mod http;
#[cfg(unix)]
pub mod i2pd;
#[cfg(unix)]
pub mod namespace;
#[cfg(unix)]
pub mod needs;
#[cfg(unix)]
pub mod node;
pub mod png;
#[cfg(unix)]
pub mod program;
#[cfg(unix)]
pub mod testnet;
pub mod world;
