//! Signatures: every type that a peer may carry can be verified; ours are Ed25519.
