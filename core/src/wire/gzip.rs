//! Bounded gzip and deflate.
