//! Tunnels that carry bytes as they come.

pub mod client;
pub mod server;

#[cfg(test)]
mod tests;
