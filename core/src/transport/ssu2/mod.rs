//! SSU2: Noise XK over UDP (specification `ssu2`).

mod keys;
pub mod session;

pub use keys::{DataKeys, DirectionKeys};
pub use session::{Opening, Role, Session, SessionError, SessionEvent, Stats};
