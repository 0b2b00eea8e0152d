//! SSU2: Noise XK over UDP (specification `ssu2`).
//!
//! An [`Endpoint`] has all sessions of a router. [`handshake`] has the states that lead to one, [`token`] what proves
//! that a peer receives at its address, [`session`] what comes after.
//!
//! # No memory of handshakes seen
//!
//! NTCP2 remembers ephemeral keys, so that a recorded first message cannot be played again. Here the token does
//! that: no SessionRequest is looked into without one, each is good once, and which ones were used is
//! remembered until they expire. What else might be played again is not worth remembering. A TokenRequest costs
//! a Retry that is hardly longer. A Retry is for the ids of one attempt, and its token is taken for
//! itself only. SessionCreated and SessionConfirmed are sealed for fresh keys of both sides. After a restart
//! the tokens of before are strangers', since the secret is new.

pub mod endpoint;
pub mod handshake;
mod keys;
pub mod session;
pub mod token;

pub use endpoint::{Endpoint, EndpointEvent, EndpointStats, NotConnected};

pub use handshake::{
    Established, HandshakeError, Ids, Outcome, Told, initiator, responder, retry::Answer,
    retry::Asked,
};
pub use keys::{DataKeys, DirectionKeys};
pub use session::{Session, SessionError, SessionEvent, Stats};
pub use token::{ReceivedTokens, TokenError, Tokens, ValidToken};

use super::checks;
use crate::crypto::Key32;
use crate::crypto::x25519::{PrivateKey, PublicKey};
use crate::wire::hash::Hash;
use crate::wire::router_info::RouterInfo;
use core::net::{IpAddr, SocketAddr};

/// What all sessions of a router share; fixed while it runs.
pub struct Local {
    hash: Hash,
    static_key: PrivateKey,
    static_public: PublicKey,
    intro: Key32,
    net_id: u8,
}

impl Local {
    /// `hash` is the router's; `static_key` and `intro` are those of its SSU2 addresses, published as
    /// `s` and `i`.
    #[must_use]
    pub fn new(hash: Hash, static_key: PrivateKey, intro: [u8; 32], net_id: u8) -> Self {
        let static_public = static_key.public();
        Self { hash, static_key, static_public, intro: Key32::new(intro), net_id }
    }

    /// The router's hash.
    #[must_use]
    pub const fn hash(&self) -> &Hash {
        &self.hash
    }

    /// The key to publish as `s`.
    #[must_use]
    pub const fn static_public(&self) -> &PublicKey {
        &self.static_public
    }

    /// The key to publish as `i`, which masks the headers of what is sent to us.
    #[must_use]
    pub const fn intro(&self) -> &Key32 {
        &self.intro
    }

    /// The network.
    #[must_use]
    pub const fn net_id(&self) -> u8 {
        self.net_id
    }

    const fn static_key(&self) -> &PrivateKey {
        &self.static_key
    }
}

/// Whom to connect to: a router's hash, and what its SSU2 address says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The router.
    pub hash: Hash,
    /// `s`.
    pub static_key: PublicKey,
    /// `i`.
    pub intro: [u8; 32],
    /// Where it is.
    pub at: SocketAddr,
    /// The largest packets that it takes, in bytes with IP and UDP headers.
    pub mtu: u16,
}

/// Whether a router may connect from `source`: if it publishes SSU2 addresses of that family, from
/// one of these, or for IPv6 from the same /64.
#[must_use]
pub fn source_matches(info: &RouterInfo, source: IpAddr) -> bool {
    let published = info.ssu2_addresses().filter_map(|address| Some(address.host?.ip()));
    checks::may_come_from(published, source)
}
