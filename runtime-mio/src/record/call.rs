//! Calls and their outcomes as bytes, and as text for people.

use super::codec::{Decoder, Malformed, put_address, put_bytes, put_number, put_time};
use super::item::{Call, Input, Outcome, UNKNOWN, tag};
use ramson_core::router::input::{ConnError, ConnInput, Listener, Remote};
use ramson_core::time::{Instant, UnixTime};
use std::fmt;

impl<'a> Input<'a> {
    /// What the router is about to be told; the bytes are still as they came.
    pub(super) fn of(input: &'a ConnInput<'_>) -> Self {
        match input {
            ConnInput::Accepted { remote, listener } => Self::Accepted(*remote, *listener),
            ConnInput::Connected => Self::Connected,
            ConnInput::Bytes(bytes) => Self::Bytes(bytes),
            ConnInput::ReadClosed => Self::ReadClosed,
            ConnInput::Failed(error) => Self::Failed(*error),
        }
    }

    const fn tag(&self) -> u8 {
        match self {
            Self::Accepted(..) => tag::ACCEPTED,
            Self::Connected => tag::CONNECTED,
            Self::Bytes(_) => tag::BYTES,
            Self::ReadClosed => tag::READ_CLOSED,
            Self::Failed(_) => tag::FAILED,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Accepted(remote, listener) => {
                let (kind, index) = match listener {
                    Listener::Ntcp2 => (0, 0),
                    Listener::HttpProxy => (1, 0),
                    Listener::Client(index) => (2, *index),
                    Listener::Control => (3, 0),
                    _ => return None,
                };
                put_number(out, kind);
                put_number(out, index.into());
                match remote {
                    Remote::Local => out.push(0),
                    Remote::Ip(address) => {
                        out.push(1);
                        put_address(out, *address);
                    }
                }
            }
            Self::Bytes(bytes) => put_bytes(out, bytes),
            Self::Failed(error) => out.push(match error {
                ConnError::Refused => 0,
                ConnError::TimedOut => 1,
                ConnError::Reset => 2,
                ConnError::Other => 3,
                _ => return None,
            }),
            Self::Connected | Self::ReadClosed => {}
        }
        Some(())
    }

    fn decode(tag: u8, from: &mut Decoder<'a>) -> Result<Self, Malformed> {
        Ok(match tag {
            tag::ACCEPTED => {
                let (kind, index) = (from.number()?, from.small()?);
                let listener = match kind {
                    0 => Listener::Ntcp2,
                    1 => Listener::HttpProxy,
                    2 => Listener::Client(index),
                    3 => Listener::Control,
                    _ => return Err(UNKNOWN),
                };
                let remote = if from.bool()? { Remote::Ip(from.address()?) } else { Remote::Local };
                Self::Accepted(remote, listener)
            }
            tag::CONNECTED => Self::Connected,
            tag::BYTES => Self::Bytes(from.bytes()?),
            tag::READ_CLOSED => Self::ReadClosed,
            tag::FAILED => Self::Failed(match from.byte()? {
                0 => ConnError::Refused,
                1 => ConnError::TimedOut,
                2 => ConnError::Reset,
                3 => ConnError::Other,
                _ => return Err(UNKNOWN),
            }),
            _ => return Err(UNKNOWN),
        })
    }
}

impl<'a> Call<'a> {
    /// `None`: an input that this file does not know.
    pub(super) fn encode(&self, out: &mut Vec<u8>, last: &mut u64) -> Option<()> {
        let mut at = |out: &mut Vec<u8>, tag, now: Instant| {
            out.push(tag);
            put_time(out, last, now.as_micros());
        };
        match *self {
            Self::Start { seed, now, unix } => {
                at(out, tag::START, now);
                out.extend_from_slice(seed);
                put_number(out, unix.as_millis());
            }
            Self::Conn { now, conn, input } => {
                at(out, input.tag(), now);
                put_number(out, conn);
                input.encode(out)?;
            }
            Self::Datagram { now, socket, remote, segment, bytes } => {
                at(out, tag::DATAGRAM, now);
                put_number(out, socket.into());
                put_address(out, remote);
                put_number(out, segment as u64);
                put_bytes(out, bytes);
            }
            Self::JobDone { now, id } => {
                at(out, tag::JOB_DONE, now);
                put_number(out, id);
            }
            Self::JobFailed { now, id } => {
                at(out, tag::JOB_FAILED, now);
                put_number(out, id);
            }
            Self::Shutdown { now } => at(out, tag::SHUTDOWN, now),
            Self::WallClock { now, unix } => {
                at(out, tag::WALL_CLOCK, now);
                put_number(out, unix.as_millis());
            }
            Self::Timeout { now } => at(out, tag::TIMEOUT, now),
            Self::Entropy { seed } => {
                out.push(tag::ENTROPY);
                out.extend_from_slice(seed);
            }
            Self::PollAction => out.push(tag::POLL_ACTION),
            Self::PollTransmit { now, max } => {
                at(out, tag::POLL_TRANSMIT, now);
                put_number(out, max as u64);
            }
            Self::PollWritable => out.push(tag::POLL_WRITABLE),
            Self::PollConn { now, conn, room } => {
                at(out, tag::POLL_CONN, now);
                put_number(out, conn);
                put_number(out, room as u64);
            }
            Self::PollTimeout => out.push(tag::POLL_TIMEOUT),
        }
        Some(())
    }

    pub(super) fn decode(
        tag: u8,
        from: &mut Decoder<'a>,
        last: &mut u64,
    ) -> Result<Self, Malformed> {
        let mut now = |from: &mut Decoder<'a>| from.time(last).map(Instant::from_micros);
        Ok(match tag {
            tag::START => {
                let now = now(from)?;
                let seed = from.seed()?;
                Self::Start { seed, now, unix: UnixTime::from_millis(from.number()?) }
            }
            tag::ACCEPTED..=tag::FAILED => Self::Conn {
                now: now(from)?,
                conn: from.number()?,
                input: Input::decode(tag, from)?,
            },
            tag::DATAGRAM => Self::Datagram {
                now: now(from)?,
                socket: from.small()?,
                remote: from.address()?,
                segment: from.small()?,
                bytes: from.bytes()?,
            },
            tag::JOB_DONE => Self::JobDone { now: now(from)?, id: from.number()? },
            tag::JOB_FAILED => Self::JobFailed { now: now(from)?, id: from.number()? },
            tag::SHUTDOWN => Self::Shutdown { now: now(from)? },
            tag::WALL_CLOCK => {
                Self::WallClock { now: now(from)?, unix: UnixTime::from_millis(from.number()?) }
            }
            tag::TIMEOUT => Self::Timeout { now: now(from)? },
            tag::ENTROPY => Self::Entropy { seed: from.seed()? },
            tag::POLL_ACTION => Self::PollAction,
            tag::POLL_TRANSMIT => Self::PollTransmit { now: now(from)?, max: from.small()? },
            tag::POLL_WRITABLE => Self::PollWritable,
            tag::POLL_CONN => {
                Self::PollConn { now: now(from)?, conn: from.number()?, room: from.small()? }
            }
            tag::POLL_TIMEOUT => Self::PollTimeout,
            _ => return Err(UNKNOWN),
        })
    }

    /// When it was made, if it says so.
    pub(super) const fn now(&self) -> Option<Instant> {
        match *self {
            Self::Start { now, .. }
            | Self::Conn { now, .. }
            | Self::Datagram { now, .. }
            | Self::JobDone { now, .. }
            | Self::JobFailed { now, .. }
            | Self::Shutdown { now }
            | Self::WallClock { now, .. }
            | Self::Timeout { now }
            | Self::PollTransmit { now, .. }
            | Self::PollConn { now, .. } => Some(now),
            Self::Entropy { .. } | Self::PollAction | Self::PollWritable | Self::PollTimeout => {
                None
            }
        }
    }

    /// Whether the router is told something, rather than asked.
    pub(super) const fn is_input(&self) -> bool {
        match self {
            Self::PollAction
            | Self::PollTransmit { .. }
            | Self::PollWritable
            | Self::PollConn { .. }
            | Self::PollTimeout => false,
            Self::Start { .. }
            | Self::Conn { .. }
            | Self::Datagram { .. }
            | Self::JobDone { .. }
            | Self::JobFailed { .. }
            | Self::Shutdown { .. }
            | Self::WallClock { .. }
            | Self::Timeout { .. }
            | Self::Entropy { .. } => true,
        }
    }
}

impl fmt::Display for Call<'_> {
    /// As the methods of the router are called, without addresses and bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { .. } => f.write_str("start"),
            Self::Conn { conn, input, .. } => match input {
                Input::Accepted(_, listener) => write!(f, "stream {conn} accepted by {listener:?}"),
                Input::Connected => write!(f, "stream {conn} connected"),
                Input::Bytes(bytes) => write!(f, "stream {conn}: {} bytes", bytes.len()),
                Input::ReadClosed => write!(f, "stream {conn}: its peer finished writing"),
                Input::Failed(error) => write!(f, "stream {conn} failed: {error}"),
            },
            Self::Datagram { bytes, .. } => write!(f, "datagrams: {} bytes", bytes.len()),
            Self::JobDone { id, .. } => write!(f, "job {id} done"),
            Self::JobFailed { id, .. } => write!(f, "job {id} panicked"),
            Self::Shutdown { .. } => f.write_str("shutdown"),
            Self::WallClock { unix, .. } => write!(f, "wall clock {}", unix.as_millis()),
            Self::Timeout { .. } => f.write_str("timeout"),
            Self::Entropy { .. } => f.write_str("fresh entropy"),
            Self::PollAction => f.write_str("poll_action"),
            Self::PollTransmit { .. } => f.write_str("poll_transmit"),
            Self::PollWritable => f.write_str("poll_writable"),
            Self::PollConn { conn, room, .. } => {
                write!(f, "poll_conn of stream {conn} with room for {room} bytes")
            }
            Self::PollTimeout => f.write_str("poll_timeout"),
        }
    }
}

impl Outcome {
    pub(super) fn encode(&self, out: &mut Vec<u8>, last: &mut u64) {
        let text = |out: &mut Vec<u8>, tag, text: &str| {
            out.push(tag);
            put_bytes(out, text.as_bytes());
        };
        match self {
            Self::Done => out.push(tag::DONE),
            Self::Started(hash) => {
                out.push(tag::STARTED);
                out.extend_from_slice(hash);
            }
            Self::Refused(why) => text(out, tag::REFUSED, why),
            Self::Consumed { taken, pause } => {
                out.push(tag::CONSUMED);
                put_number(out, *taken as u64);
                out.push((*pause).into());
            }
            Self::Action(None) => out.push(tag::NO_ACTION),
            Self::Action(Some(action)) => text(out, tag::ACTION, action),
            Self::Transmit(None) => out.push(tag::NO_TRANSMIT),
            Self::Transmit(Some(transmit)) => text(out, tag::TRANSMIT, transmit),
            Self::Writable(None) => out.push(tag::NO_WRITABLE),
            Self::Writable(Some(conn)) => {
                out.push(tag::WRITABLE);
                put_number(out, *conn);
            }
            Self::Written { len, digest } => {
                out.push(tag::WRITTEN);
                put_number(out, *len as u64);
                out.extend_from_slice(&digest.to_le_bytes());
            }
            Self::Timeout(None) => out.push(tag::NO_DEADLINE),
            Self::Timeout(Some(at)) => {
                out.push(tag::DEADLINE);
                // Times go on from the one of the last call, not from a deadline.
                put_time(out, &mut last.clone(), at.as_micros());
            }
            Self::Panicked => out.push(tag::PANICKED),
        }
    }

    pub(super) fn decode(
        tag: u8,
        from: &mut Decoder<'_>,
        last: &mut u64,
    ) -> Result<Self, Malformed> {
        Ok(match tag {
            tag::DONE => Self::Done,
            tag::STARTED => Self::Started(from.array()?),
            tag::REFUSED => Self::Refused(from.text()?.into()),
            tag::CONSUMED => Self::Consumed { taken: from.small()?, pause: from.bool()? },
            tag::NO_ACTION => Self::Action(None),
            tag::ACTION => Self::Action(Some(from.text()?.into())),
            tag::NO_TRANSMIT => Self::Transmit(None),
            tag::TRANSMIT => Self::Transmit(Some(from.text()?.into())),
            tag::NO_WRITABLE => Self::Writable(None),
            tag::WRITABLE => Self::Writable(Some(from.number()?)),
            tag::WRITTEN => {
                let len = from.small()?;
                Self::Written { len, digest: u64::from_le_bytes(from.array()?) }
            }
            tag::NO_DEADLINE => Self::Timeout(None),
            tag::DEADLINE => {
                Self::Timeout(Some(Instant::from_micros(from.time(&mut last.clone())?)))
            }
            tag::PANICKED => Self::Panicked,
            _ => return Err(UNKNOWN),
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Started(hash) => {
                let hash = ramson_core::wire::base64::encode(hash);
                write!(f, "router {hash}")
            }
            Self::Refused(why) => write!(f, "no router: {why}"),
            Self::Consumed { taken, pause: true } => write!(f, "took {taken} bytes, then a pause"),
            Self::Consumed { taken, pause: false } => write!(f, "took {taken} bytes"),
            Self::Action(Some(what)) | Self::Transmit(Some(what)) => f.write_str(what),
            Self::Action(None) | Self::Transmit(None) | Self::Writable(None) => {
                f.write_str("nothing")
            }
            Self::Writable(Some(conn)) => write!(f, "stream {conn}"),
            Self::Written { len, digest } => write!(f, "{len} bytes with digest {digest:016x}"),
            Self::Timeout(Some(at)) => write!(f, "{} µs", at.as_micros()),
            Self::Timeout(None) => f.write_str("no deadline"),
            Self::Panicked => f.write_str("a panic"),
        }
    }
}
