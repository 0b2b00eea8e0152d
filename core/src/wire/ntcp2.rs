//! NTCP2 handshake options and data-phase blocks.
