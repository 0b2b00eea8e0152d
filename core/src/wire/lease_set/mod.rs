//! Lease sets of all kinds.
