//! The Ramson router on tokio.
