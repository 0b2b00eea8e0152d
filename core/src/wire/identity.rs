//! Router identities and destinations.
