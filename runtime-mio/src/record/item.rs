//! What a recording consists of: the start, then calls of the router and what each gave.

use super::codec::{Decoder, Malformed, put_bytes, put_number};
use ramson_core::router::input::{ConnError, Listener, Remote};
use ramson_core::time::{Instant, UnixTime};
use std::net::SocketAddr;

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// Who recorded. Always the first.
    Program(Program<'a>),
    /// The configuration: a TOML text, and what that cannot say.
    Config {
        toml: &'a str,
        sessions: u32,
    },
    /// Something stored, for the call that makes the router.
    Stored(StoredItem<'a>),
    Call(Call<'a>),
    /// What the call before it gave. Without one the router was left, or killed, in that call.
    Outcome(Outcome),
    End(End),
}

/// Who recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Program<'a> {
    pub(super) version: &'a str,
    /// A digest of the configuration's format.
    pub(super) config: u64,
    /// A checksum of the program, 0 when it could not be read.
    pub(super) build: u64,
}

/// A part of what was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoredItem<'a> {
    RouterKeys(&'a [u8]),
    Destination(&'a str, &'a [u8]),
    RouterInfo(&'a [u8]),
    Reseed(&'a [u8]),
    Profile([u8; 32], &'a [u8]),
    Hosts(&'a [u8]),
    LearnedHosts(&'a [u8]),
}

/// A call of the router, by the names of its methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call<'a> {
    Start { seed: &'a [u8; 32], now: Instant, unix: UnixTime },
    Conn { now: Instant, conn: u64, input: Input<'a> },
    Datagram { now: Instant, socket: u16, remote: SocketAddr, segment: usize, bytes: &'a [u8] },
    JobDone { now: Instant, id: u64 },
    JobFailed { now: Instant, id: u64 },
    Shutdown { now: Instant },
    WallClock { now: Instant, unix: UnixTime },
    Timeout { now: Instant },
    Entropy { seed: &'a [u8; 32] },
    PollAction,
    PollTransmit { now: Instant, max: usize },
    PollWritable,
    PollConn { now: Instant, conn: u64, room: usize },
    PollTimeout,
}

/// A [`ConnInput`](ramson_core::router::input::ConnInput).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input<'a> {
    Accepted(Remote, Listener),
    Connected,
    Bytes(&'a [u8]),
    ReadClosed,
    Failed(ConnError),
}

/// What a call gave: numbers as they are, actions as text, bytes as a digest. Enough to say whether
/// a second run gave the same, and to show what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It gives nothing.
    Done,
    /// The hash of the router that was made.
    Started([u8; 32]),
    /// Why none was.
    Refused(String),
    Consumed {
        taken: usize,
        pause: bool,
    },
    Action(Option<String>),
    Transmit(Option<String>),
    Writable(Option<u64>),
    Written {
        len: usize,
        digest: u64,
    },
    Timeout(Option<Instant>),
    Panicked,
}

/// Why a recording ends where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The router was dropped.
    Stopped,
    /// No room was left.
    Limit,
    /// The disk took it too slowly.
    Slow,
    /// Something happened that this format has no item for.
    Unknown,
}

/// How the bytes of an item begin: calls below 0x40, outcomes above.
pub(super) mod tag {
    pub(in crate::record) const PROGRAM: u8 = 1;
    pub(in crate::record) const CONFIG: u8 = 2;
    pub(in crate::record) const END: u8 = 3;

    pub(in crate::record) const ROUTER_KEYS: u8 = 0x10;
    pub(in crate::record) const DESTINATION: u8 = 0x11;
    pub(in crate::record) const ROUTER_INFO: u8 = 0x12;
    pub(in crate::record) const RESEED: u8 = 0x13;
    pub(in crate::record) const PROFILE: u8 = 0x14;
    pub(in crate::record) const HOSTS: u8 = 0x15;
    pub(in crate::record) const LEARNED_HOSTS: u8 = 0x16;

    pub(in crate::record) const START: u8 = 0x20;
    pub(in crate::record) const ACCEPTED: u8 = 0x21;
    pub(in crate::record) const CONNECTED: u8 = 0x22;
    pub(in crate::record) const BYTES: u8 = 0x23;
    pub(in crate::record) const READ_CLOSED: u8 = 0x24;
    pub(in crate::record) const FAILED: u8 = 0x25;
    pub(in crate::record) const JOB_DONE: u8 = 0x26;
    pub(in crate::record) const JOB_FAILED: u8 = 0x27;
    pub(in crate::record) const SHUTDOWN: u8 = 0x28;
    pub(in crate::record) const WALL_CLOCK: u8 = 0x29;
    pub(in crate::record) const TIMEOUT: u8 = 0x2a;
    pub(in crate::record) const ENTROPY: u8 = 0x2b;
    pub(in crate::record) const DATAGRAM: u8 = 0x2c;

    pub(in crate::record) const POLL_ACTION: u8 = 0x30;
    pub(in crate::record) const POLL_TRANSMIT: u8 = 0x31;
    pub(in crate::record) const POLL_WRITABLE: u8 = 0x32;
    pub(in crate::record) const POLL_CONN: u8 = 0x33;
    pub(in crate::record) const POLL_TIMEOUT: u8 = 0x34;

    pub(in crate::record) const DONE: u8 = 0x40;
    pub(in crate::record) const STARTED: u8 = 0x41;
    pub(in crate::record) const REFUSED: u8 = 0x42;
    pub(in crate::record) const CONSUMED: u8 = 0x43;
    pub(in crate::record) const NO_ACTION: u8 = 0x44;
    pub(in crate::record) const ACTION: u8 = 0x45;
    pub(in crate::record) const NO_TRANSMIT: u8 = 0x46;
    pub(in crate::record) const TRANSMIT: u8 = 0x47;
    pub(in crate::record) const NO_WRITABLE: u8 = 0x48;
    pub(in crate::record) const WRITABLE: u8 = 0x49;
    pub(in crate::record) const WRITTEN: u8 = 0x4a;
    pub(in crate::record) const NO_DEADLINE: u8 = 0x4b;
    pub(in crate::record) const DEADLINE: u8 = 0x4c;
    pub(in crate::record) const PANICKED: u8 = 0x4d;
}

/// No item has this kind.
pub(super) const UNKNOWN: Malformed = Malformed("an item of no known kind");

impl<'a> Item<'a> {
    /// Appends it; `last` is the time of the item before. `None`: a kind of input that is newer than
    /// this file, and nothing whole was appended.
    pub(super) fn encode(&self, out: &mut Vec<u8>, last: &mut u64) -> Option<()> {
        match self {
            Item::Program(program) => {
                out.push(tag::PROGRAM);
                put_bytes(out, program.version.as_bytes());
                put_number(out, program.config);
                put_number(out, program.build);
            }
            Item::Config { toml, sessions } => {
                out.push(tag::CONFIG);
                put_bytes(out, toml.as_bytes());
                put_number(out, (*sessions).into());
            }
            Item::Stored(item) => item.encode(out),
            Item::Call(call) => call.encode(out, last)?,
            Item::Outcome(outcome) => outcome.encode(out, last),
            Item::End(end) => out.extend([tag::END, *end as u8]),
        }
        Some(())
    }

    /// Takes one off the front.
    pub(super) fn decode(from: &mut Decoder<'a>, last: &mut u64) -> Result<Self, Malformed> {
        Ok(match from.byte()? {
            tag::PROGRAM => Item::Program(Program {
                version: from.text()?,
                config: from.number()?,
                build: from.number()?,
            }),
            tag::CONFIG => Item::Config { toml: from.text()?, sessions: from.small()? },
            tag::END => Item::End(match from.byte()? {
                0 => End::Stopped,
                1 => End::Limit,
                2 => End::Slow,
                3 => End::Unknown,
                _ => return Err(UNKNOWN),
            }),
            tag @ 0x10..0x20 => Item::Stored(StoredItem::decode(tag, from)?),
            tag @ 0x20..0x40 => Item::Call(Call::decode(tag, from, last)?),
            tag => Item::Outcome(Outcome::decode(tag, from, last)?),
        })
    }
}

impl<'a> StoredItem<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        let (tag, bytes) = match self {
            Self::RouterKeys(bytes) => (tag::ROUTER_KEYS, bytes),
            Self::Destination(_, bytes) => (tag::DESTINATION, bytes),
            Self::RouterInfo(bytes) => (tag::ROUTER_INFO, bytes),
            Self::Reseed(bytes) => (tag::RESEED, bytes),
            Self::Profile(_, bytes) => (tag::PROFILE, bytes),
            Self::Hosts(bytes) => (tag::HOSTS, bytes),
            Self::LearnedHosts(bytes) => (tag::LEARNED_HOSTS, bytes),
        };
        out.push(tag);
        match self {
            Self::Destination(name, _) => put_bytes(out, name.as_bytes()),
            Self::Profile(hash, _) => out.extend_from_slice(hash),
            Self::RouterKeys(_)
            | Self::RouterInfo(_)
            | Self::Reseed(_)
            | Self::Hosts(_)
            | Self::LearnedHosts(_) => {}
        }
        put_bytes(out, bytes);
    }

    fn decode(tag: u8, from: &mut Decoder<'a>) -> Result<Self, Malformed> {
        Ok(match tag {
            tag::ROUTER_KEYS => Self::RouterKeys(from.bytes()?),
            tag::DESTINATION => Self::Destination(from.text()?, from.bytes()?),
            tag::ROUTER_INFO => Self::RouterInfo(from.bytes()?),
            tag::RESEED => Self::Reseed(from.bytes()?),
            tag::PROFILE => Self::Profile(from.array()?, from.bytes()?),
            tag::HOSTS => Self::Hosts(from.bytes()?),
            tag::LEARNED_HOSTS => Self::LearnedHosts(from.bytes()?),
            _ => return Err(UNKNOWN),
        })
    }
}
