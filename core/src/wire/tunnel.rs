//! Tunnel messages, delivery instructions and build records.
