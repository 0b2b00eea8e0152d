//! What whoever sends packets needs to know of the way: how long it is, and how much may be on it.

pub(crate) mod congestion;
pub(crate) mod rtt;
