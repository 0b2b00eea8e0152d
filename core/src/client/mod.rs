//! Client protocols: HTTP proxy, client and server tunnels, address book, control.
//!
//! Each connection machine stands between one local byte stream (a browser, a local server) and
//! I2P streams, and sees both as values. They share one shape, so that an owner can treat them
//! alike through [`Connection`]:
//!
//! - `handle_local`, `handle_local_connected`, `handle_local_closed`, `handle_local_failed`: what
//!   happened on the local side;
//! - `handle_stream`: what happened on the I2P stream of a [`Slot`];
//! - `handle_name`: the answer to a [`Request::FindName`] or [`Request::LearnName`];
//! - `handle_timeout`: time passed;
//! - `shut_down`: the router stops.
//!
//! After each of these the owner drains, in this order: `poll_request` until `None`;
//! `poll_stream` for the slots it opened; `poll_local`. The two byte polls may make new requests
//! (they free room, or give the last bytes before a close), so when one of them gave bytes the
//! owner drains `poll_request` again. Last comes `poll_timeout`. When [`Request::CloseLocal`] came
//! out, or `is_done` is true and `poll_request` is empty, the machine is dropped.
//!
//! Bytes have backpressure both ways. A machine takes what it has room for; whoever is told that
//! not all was taken keeps the rest and offers it again after [`Request::ReadLocal`] or
//! [`Request::ReadStream`].

pub mod address_book;
mod buffer;
mod connection;
pub mod control;
pub mod http_proxy;
pub mod http_server;
mod json;
mod pages;
mod pipe;
mod relay;
mod requests;
mod sanitize;
pub mod target;
pub mod tunnel;

pub use connection::Connection;
pub use target::Target;

use crate::wire::identity::Identity;
use alloc::boxed::Box;

/// Most bytes that wait in a machine for an I2P stream, and as many for its local socket; a
/// message head may come on top of either.
pub const BUFFER: usize = 64 * 1024;

/// Most connections of local programs at a time, for the owner to enforce: further ones are
/// refused.
pub const MAX_CONNECTIONS: usize = 512;

/// An I2P stream of one machine: the machine's own name for it. A number is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

impl Slot {
    /// The stream that a server tunnel was made for.
    pub const INCOMING: Self = Self(0);
}

/// How far a machine took the bytes it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Consumed {
    /// Bytes taken; the caller keeps the rest.
    pub taken: usize,
    /// Stop reading until [`Request::ReadLocal`].
    pub pause: bool,
}

/// What a machine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Connect an I2P stream. Bytes for it may be polled at once, so that they travel with the
    /// first packet. Answered by `Opened` or `Failed`.
    Open {
        /// Its name from now on.
        slot: Slot,
        /// Whom to connect to. A [`Target::Name`] is looked up in the address book; when it is
        /// not there the answer is [`Failure::UnknownName`].
        target: Target,
        /// The I2P port.
        port: u16,
    },
    /// Half-close: nothing follows what `poll_stream` gave. The machine still reads.
    FinishStream {
        /// Which.
        slot: Slot,
    },
    /// Close gracefully after what `poll_stream` gave and throw away what still arrives. The slot
    /// is dead.
    CloseStream {
        /// Which.
        slot: Slot,
    },
    /// Reset the stream. The slot is dead.
    ResetStream {
        /// Which.
        slot: Slot,
    },
    /// There is room again for bytes of this stream.
    ReadStream {
        /// Which.
        slot: Slot,
    },
    /// Connect to the local target of a server tunnel. Answered by `handle_local_connected` or
    /// `handle_local_failed`.
    ConnectLocal,
    /// Read the local side again, beginning with what was not taken.
    ReadLocal,
    /// Half-close the local side after what `poll_local` gave; keep reading it.
    FinishLocal,
    /// Close the local side; the machine has nothing more to say.
    CloseLocal {
        /// Drop unsent bytes and reset, so that the other side sees a broken transfer.
        abort: bool,
    },
    /// Look a name up in the address book. Answered by [`NameAnswer::Known`] or
    /// [`NameAnswer::Unknown`].
    FindName {
        /// Which, in lower case.
        name: Box<str>,
    },
    /// The user confirmed a new name: add it and keep it. Answered by [`NameAnswer::Known`] with
    /// what the book holds then, or [`NameAnswer::Unknown`] when it is full.
    LearnName {
        /// The name, valid and in lower case.
        name: Box<str>,
        /// Its destination.
        destination: Identity,
    },
}

/// What happened on an I2P stream.
#[derive(Clone, Copy, Debug)]
pub enum StreamInput<'a> {
    /// It is connected.
    Opened,
    /// Bytes arrived. `handle_stream` says how many were taken.
    Data(&'a [u8]),
    /// The remote finished writing; all its bytes were given before.
    RemoteClosed,
    /// It could not be opened, or broke. The slot is dead.
    Failed(Failure),
}

/// Why an I2P stream failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The name is not in the address book.
    #[error("unknown name")]
    UnknownName,
    /// No floodfill knows a lease set of the destination: it is off line, or never was.
    #[error("lease set not found")]
    LeaseSetNotFound,
    /// The only lease set that was found is over: it was on line a while ago.
    #[error("lease set expired")]
    LeaseSetExpired,
    /// The lease set has no encryption key, or the destination no signature, of a type we speak.
    #[error("unsupported encryption")]
    Unsupported,
    /// We have no tunnels yet, or none at the moment.
    #[error("no tunnels")]
    NoTunnels,
    /// We know no other router, so that there can be no tunnels.
    #[error("no router known")]
    NoRouters,
    /// No answer in time.
    #[error("timed out")]
    TimedOut,
    /// The remote refused the stream.
    #[error("refused")]
    Refused,
    /// The remote reset the stream.
    #[error("reset")]
    Reset,
    /// Our own limits are reached.
    #[error("too many streams")]
    TooMany,
    /// The router is stopping.
    #[error("shutting down")]
    ShuttingDown,
}

/// Why the local side failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocalFailure {
    /// Nobody listens at the target.
    #[error("refused")]
    Refused,
    /// The target did not answer in time.
    #[error("timed out")]
    TimedOut,
    /// It was reset.
    #[error("reset")]
    Reset,
    /// Anything else.
    #[error("failed")]
    Other,
}

/// What the address book says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameAnswer {
    /// Not there.
    Unknown,
    /// The destination under that name.
    Known(Identity),
}

#[cfg(test)]
mod pair;
#[cfg(test)]
mod testing;
