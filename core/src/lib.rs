//! The I2P router as a pure state machine.
//!
//! Nothing in this crate opens a socket, reads a clock, starts a thread or draws entropy:
//! time, randomness, stored state and bytes come in as values, and effects go out as data.
//! Modules depend on each other in one direction only, from the left to the right:
//! `router -> client -> {streaming, datagram} -> destination -> {transport, netdb, tunnel, garlic}
//! -> keys -> wire -> {crypto, config, conn} -> {rng, time, audit}`; siblings never import each other.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod audit;
pub mod client;
pub mod config;
pub mod conn;
pub mod crypto;
pub mod datagram;
pub mod destination;
mod flow;
pub mod garlic;
pub mod keys;
pub mod netdb;
pub mod rng;
pub mod router;
pub mod streaming;
pub mod time;
pub mod transport;
pub mod tunnel;
pub mod wire;
