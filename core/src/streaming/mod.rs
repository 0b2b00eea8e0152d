//! Streaming: reliable byte streams between destinations.
