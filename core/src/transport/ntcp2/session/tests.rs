//! Both roles against each other in virtual time.

mod captured;
mod data;
mod fixture;
mod handshake;
mod hostile;
