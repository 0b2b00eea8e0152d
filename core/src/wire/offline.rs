//! Offline signatures.
