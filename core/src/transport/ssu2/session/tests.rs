//! Two sessions and the links between them, in virtual time.

mod net;

mod closing;
mod goodput;
mod hostile;
mod moving;
mod reliable;
