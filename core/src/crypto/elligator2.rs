//! Elligator2 for Curve25519: public keys that look like random bytes.
