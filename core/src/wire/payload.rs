//! The client payload header: gzip whose header carries ports and protocol.
