//! The Ramson router on a `mio` event loop.
