//! Stand-ins for what costs most, **without any security**: for simulations of networks so large that
//! real cryptography would be most of the work, and never for a socket.
//!
//! They keep secrets from nobody: whoever sees two public keys knows the shared secret, and whoever sees a
//! public key can sign for it. What they do keep is every mistake visible. A wrong key, nonce or associated
//! data, another message and any changed byte are refused, or give other bytes, as with the real
//! ones; lengths and what is appended where are the same.
//!
//! X25519, Elligator2, Ed25519, ChaCha20-Poly1305 and AES are replaced. What names things and is compared
//! across the network stays real, since it costs little: SHA-256 and SHA-512 (hashes of routers, routing
//! keys, tunnel checksums), HMAC and HKDF, SipHash, bare ChaCha20, the random numbers, and the kinds of
//! signatures that only others make.

pub(super) mod aead;
pub mod aes;
pub(super) mod ed25519;
pub(super) mod elligator2;
mod mix;
#[cfg(test)]
mod tests;
pub(super) mod x25519;
