//! Garlic encryption: the ECIES-X25519-AEAD ratchet between destinations, one-time garlic for routers.
