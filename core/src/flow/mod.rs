//! What whoever sends packets needs to know of the way: how long it is, how it reorders, how much may be on
//! it, and how fast that may go.

pub(crate) mod congestion;
pub(crate) mod pacer;
pub(crate) mod reordering;
pub(crate) mod rtt;
