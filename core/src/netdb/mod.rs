//! The network database as a client.
