//! Endpoints and the links between them, in virtual time.

mod net;

mod dialling;
mod flood;
