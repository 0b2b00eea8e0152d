//! Datagram headers (specification `datagrams`).
