//! Streaming packets (specification `streaming`).
