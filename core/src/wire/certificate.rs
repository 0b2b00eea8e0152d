//! Certificates of identities.
