//! Datagrams between destinations: repliable and raw.
