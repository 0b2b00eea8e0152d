//! Long-term keys and their files.
