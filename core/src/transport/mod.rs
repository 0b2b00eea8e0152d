//! Transports: sessions with other routers.

mod bandwidth;
pub mod checks;
pub mod ntcp2;
pub mod peers;
pub mod queue;
pub mod ssu2;
