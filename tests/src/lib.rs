//! The world: whole routers and machines in virtual time.
