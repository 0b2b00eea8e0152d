//! Two NTCP2 sessions, and everything that can happen to a TCP stream between them.

use super::input::Input;
use super::ntcp2_order::{Left, Sent, check_order};
use super::transport::{UNIX, routers};
use ramson_core::rng::{Rng, Seed};
use ramson_core::time::{Instant, UnixTime};
use ramson_core::transport::ntcp2::session::{IDLE_JITTER, IDLE_TIMEOUT};
use ramson_core::transport::ntcp2::{ReplayCache, Session, SessionError, SessionEvent, Stats};
use ramson_core::transport::queue::{Full, MAX_BYTES, MAX_MESSAGES, Priority};
use ramson_core::wire::i2np::{MAX_BODY_LEN, Message, MessageType};
use ramson_core::wire::ntcp2::{MAX_PAYLOAD_LEN, Reason};
use ramson_core::wire::router_info::RouterInfo;
use std::num::NonZero;
use std::time::Duration;

/// Whoever damages a stream has ended it after so many more bytes: the longest frame that the damaged
/// bytes can be taken for, and the one that they belong to.
const LONGEST_WAIT: usize = 2 * (2 + MAX_PAYLOAD_LEN + 16);
/// The clocks of two routers that talk differ by no more, messages under way included.
const TOO_SKEWED: u64 = 60 + 10 + 2;

/// One router's end.
struct End {
    session: Session,
    replay: ReplayCache,
    /// Seconds that its clock is ahead.
    ahead: i64,
    info: RouterInfo,
    /// RouterInfos that it was to send.
    infos: usize,
    sent: Vec<Sent>,
    /// Refused for want of room.
    refused: u64,
    left: Vec<Left>,
    /// Numbers of the messages that came.
    got: Vec<usize>,
    /// RouterInfos that came.
    told: usize,
    established: bool,
    closed: Option<Result<Reason, SessionError>>,
    /// All bytes that it wrote, and how many before it was established.
    written: Vec<u8>,
    first: usize,
    /// All bytes that it was given, and how many of them are what the other one wrote.
    heard: Vec<u8>,
    true_until: usize,
    /// What was written and not yet delivered to the other end.
    wire: Vec<u8>,
}

impl End {
    const fn new(session: Session, info: RouterInfo, ahead: i64) -> Self {
        Self {
            session,
            replay: ReplayCache::new(),
            ahead,
            info,
            infos: 0,
            sent: Vec::new(),
            refused: 0,
            left: Vec::new(),
            got: Vec::new(),
            told: 0,
            established: false,
            closed: None,
            written: Vec::new(),
            first: 0,
            heard: Vec::new(),
            true_until: 0,
            wire: Vec::new(),
        }
    }

    fn unix(&self, now: Instant) -> UnixTime {
        let true_time = UNIX + now.saturating_since(Instant::ZERO);
        let by = Duration::from_secs(self.ahead.unsigned_abs());
        if self.ahead < 0 { true_time - by } else { true_time + by }
    }
}

/// What of a message follows from its number.
fn message(id: usize, len: usize, tunnel: Option<u8>) -> Message {
    let mut body = vec![id as u8; len];
    let kind = match (tunnel, body.first_chunk_mut::<4>()) {
        (Some(tunnel), Some(head)) => {
            *head = [0, 0, 0, tunnel];
            MessageType::TUNNEL_DATA
        }
        _ => MessageType::DATA,
    };
    Message { kind, id: id as u32, expires: UNIX + Duration::from_secs(1_000_000), body }
}

struct Net {
    /// Who connected, and who accepted.
    ends: [End; 2],
    now: Instant,
    turn: usize,
    /// Somebody was at the wire.
    touched: bool,
}

impl Net {
    fn new(mode: u8, ahead: i8) -> Self {
        let [a, b] = routers();
        let mut rng = Rng::new(&Seed::from_number(mode.into()));
        let alice = a.connect(b, rng.fork("alice"));
        let bob = b.accept(rng.fork("bob"));
        let alice = End::new(alice, a.info.clone(), 0);
        let bob = End::new(bob, b.info.clone(), ahead.into());
        Self { ends: [alice, bob], now: Instant::from_micros(1000), turn: 0, touched: false }
    }

    /// The session of `who` fills at most `room` bytes onto its wire.
    fn write(&mut self, who: usize, room: usize) -> usize {
        let (now, turn) = (self.now, self.turn);
        let end = &mut self.ends[who];
        let (unix, before) = (end.unix(now), end.wire.len());
        let wanted = end.session.wants_write();
        let dropped_before = end.session.stats().dropped;
        let written = end.session.poll_write(now, unix, room, &mut end.wire);
        assert!(written <= room && end.wire.len() == before + written);
        assert!(wanted || written == 0, "bytes of one that wants to write none");
        let new = end.wire.get(before..).unwrap_or_default();
        end.written.extend_from_slice(new);
        if !end.established {
            end.first = end.written.len();
        }
        let Stats { messages_out, dropped, bytes_out, .. } = end.session.stats();
        assert_eq!(bytes_out, end.written.len() as u64);
        end.left.resize(messages_out as usize, Left { turn, dropped: (dropped_before, dropped) });
        self.check(who);
        written
    }

    /// Delivers at most `len` bytes of what `from` wrote.
    fn deliver(&mut self, from: usize, len: usize) {
        let now = self.now;
        let wire = &mut self.ends[from].wire;
        // An honest read is no longer.
        let mut piece: Vec<u8> = wire.drain(..len.min(1 << 16).min(wire.len())).collect();
        let end = &mut self.ends[1 - from];
        let unix = end.unix(now);
        end.heard.extend_from_slice(&piece);
        let result = end.session.handle_bytes(now, unix, &mut end.replay, &mut piece);
        self.events(1 - from, result.err());
    }

    /// Where the bytes that `who` was given begin to be others than those that were written.
    fn damaged(&mut self, who: usize) -> Option<usize> {
        let [a, b] = &mut self.ends;
        let (end, other) = if who == 0 { (a, b) } else { (b, a) };
        let (heard, written) = (&end.heard[end.true_until..], &other.written[end.true_until..]);
        let both = heard.len().min(written.len());
        let same = heard.iter().zip(written).take_while(|(a, b)| a == b).count();
        end.true_until += same;
        (same < both).then_some(end.true_until)
    }

    fn events(&mut self, who: usize, error: Option<SessionError>) {
        let (mine, other) = {
            let [a, b] = &mut self.ends;
            if who == 0 { (a, b) } else { (b, a) }
        };
        let mut last = None;
        while let Some(event) = mine.session.poll_event() {
            assert_eq!(mine.closed, None, "an event after the last");
            match &event {
                SessionEvent::Established { peer, .. } => {
                    assert!(!mine.established);
                    assert_eq!(peer.hash(), other.info.hash());
                    mine.established = true;
                }
                SessionEvent::Message(got) => {
                    assert!(mine.established);
                    let id = got.id as usize;
                    assert_eq!(other.sent.get(id).map(|sent| &sent.message), Some(got));
                    mine.got.push(id);
                }
                SessionEvent::RouterInfo { info, .. } => {
                    assert_eq!(*info, other.info);
                    mine.told += 1;
                    assert!(mine.told <= other.infos, "nobody sent it");
                }
                SessionEvent::Skew(skew) => {
                    let ahead = other.ahead - mine.ahead;
                    assert!(*skew <= ahead + 1, "a clock that is not the peer's");
                }
                SessionEvent::Closed(how) => mine.closed = Some(*how),
            }
            last = Some(event);
        }
        if let Some(error) = error {
            assert_eq!(last, Some(SessionEvent::Closed(Err(error))));
        }
        self.check(who);
    }

    /// What always holds.
    fn check(&mut self, who: usize) {
        let damaged = [self.damaged(0), self.damaged(1)];
        let (end, other) = (&self.ends[who], &self.ends[1 - who]);
        let session = &end.session;
        assert_eq!(end.closed.is_some(), session.is_closed());
        assert_eq!(session.poll_timeout().is_none(), session.is_closed());
        let (messages, bytes) = session.queued();
        assert!(messages <= MAX_MESSAGES && bytes <= MAX_BYTES);
        let Stats { messages_in, messages_out, dropped, bytes_in, malformed, .. } = session.stats();
        assert_eq!(end.sent.len() as u64 + end.refused, messages_out + dropped + messages as u64);
        assert!(malformed == 0 && messages_in == end.got.len() as u64);
        assert_eq!(bytes_in, end.heard.len() as u64);
        assert!(end.got.len() <= other.left.len(), "more than was sent");
        assert!(end.established || messages_out == 0);
        if damaged[who].is_some_and(|at| end.heard.len() > at + LONGEST_WAIT) {
            assert!(!session.is_established(), "damage was not noticed");
        }
        // All bytes of the handshake are authenticated. Bob sends one message, Alice two.
        let [alice, bob] = &self.ends;
        if bob.established {
            assert!(damaged[0].is_none_or(|at| at >= bob.first));
            assert!(damaged[1].is_none_or(|at| at >= alice.first + 64));
            assert!(bob.ahead.unsigned_abs() <= TOO_SKEWED);
        }
    }

    fn queue(&mut self, who: usize, op: u8, len: usize) {
        let (now, turn) = (self.now, self.turn);
        let end = &mut self.ends[who];
        let (priority, tunnel) = match op >> 5 & 3 {
            0 => (Priority::Own, None),
            1 => (Priority::Control, None),
            n => (Priority::Transit, Some(n)),
        };
        let id = end.sent.len();
        let message = message(id, len, tunnel);
        let over = end.closed.is_some() || end.established && !end.session.is_established();
        match end.session.queue(now, message.clone(), priority) {
            Ok(()) => {
                assert!(!over && len <= MAX_BODY_LEN);
                let before = end.left.len() as u64;
                end.sent.push(Sent { message, priority, before, turn });
            }
            Err(Full::Queue) => {
                assert!(priority < Priority::Control, "nothing matters more");
                end.refused += 1;
            }
            Err(Full::TooLarge) => assert!(len > MAX_BODY_LEN),
            Err(_) => assert!(!end.session.is_established()),
        }
        self.check(who);
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        for who in 0..2 {
            for round in 0.. {
                let session = &mut self.ends[who].session;
                if session.poll_timeout().is_none_or(|at| at > self.now) {
                    break;
                }
                assert!(round < 5, "due for ever");
                session.handle_timeout(self.now);
                self.events(who, None);
            }
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        self.turn += 1;
        let op = input.u8();
        let who = usize::from(op >> 7);
        match op & 0x0f {
            0 | 1 => {
                let len = usize::from(input.u16());
                self.queue(who, op, len);
            }
            // Many small ones.
            2 => {
                let (len, times) = (usize::from(input.u8()), usize::from(input.u8()) * 3);
                for n in 0..times {
                    self.queue(who, if op & 0x10 == 0 { op } else { (n as u8) << 5 }, len);
                }
            }
            // As a runtime does when nothing is in the way.
            3 | 4 => {
                self.write(who, 1 << 16);
                self.deliver(who, usize::MAX);
            }
            5 => {
                self.write(who, usize::from(input.u16()));
            }
            6 => self.deliver(who, usize::from(input.u16())),
            7 => {
                // In pieces of one size.
                let size = usize::from(input.u8()) + 1;
                self.write(who, size * 40);
                for _ in 0..40 {
                    self.deliver(who, size);
                }
            }
            8 => {
                let (at, with) = (usize::from(input.u16()), input.u8());
                let wire = &mut self.ends[who].wire;
                let Some(len) = NonZero::new(wire.len()).filter(|_| with != 0) else { return };
                wire[at % len] ^= with;
                self.touched = true;
            }
            9 => {
                let (at, len) = (usize::from(input.u16()), usize::from(input.u8()));
                let bytes = input.bytes(len);
                let wire = &mut self.ends[who].wire;
                let at = at.min(wire.len());
                wire.splice(at..at, bytes.iter().copied());
                self.touched |= !bytes.is_empty();
            }
            10 => {
                let (at, len) = (usize::from(input.u16()), usize::from(input.u8()));
                let wire = &mut self.ends[who].wire;
                let end = (at + len).min(wire.len());
                if at < end {
                    wire.drain(at..end);
                    self.touched = true;
                }
            }
            11 => {
                let end = &mut self.ends[who];
                match op >> 4 & 7 {
                    0..=2 => {
                        end.infos += 1;
                        end.session.send_router_info(self.now, &end.info, op & 0x10 != 0);
                    }
                    3 | 4 => end.session.excuse(self.now),
                    5 => end.session.close(Reason::from_code(input.u8())),
                    _ => end.session.handle_disconnect(),
                }
                self.events(who, None);
            }
            _ => self.pass(Duration::from_millis(u64::from(input.u16()))),
        }
    }
}

/// The first byte is a seed, the second how far Bob's clock is ahead, in seconds. Then operations on
/// either side: messages of all sizes and priorities are queued, also before there is a session; the
/// stream is cut, delayed, glued together, damaged, ended; time passes, sessions are closed.
///
/// What comes out was put in, in the order that the queues promise; damage is noticed and nothing
/// comes after it; counters and limits hold; a session of which nobody hears ends by itself.
pub fn ntcp2_peer(data: &[u8]) {
    let mut input = Input::new(data);
    let mut net = Net::new(input.u8(), input.u8() as i8);
    for _ in 0..150 {
        if input.is_empty() {
            break;
        }
        net.step(&mut input);
    }
    let open = net.ends.iter().all(|e| e.closed.is_none());
    if open && !net.touched && net.ends[1].ahead.abs() <= 45 {
        // Nothing went wrong, so all of it arrives.
        net.turn += 1;
        for _ in 0..2000 {
            let written = [0, 1].map(|who| net.write(who, 1 << 14));
            let waiting = net.ends.iter().any(|e| !e.wire.is_empty());
            (0..2).for_each(|who| net.deliver(who, usize::MAX));
            if written == [0, 0] && !waiting {
                break;
            }
        }
        for who in 0..2 {
            let end = &net.ends[who];
            assert!(end.session.is_established(), "{:?}", end.closed);
            assert_eq!(end.got.len(), net.ends[1 - who].left.len());
            assert_eq!(end.session.queued(), (0, 0));
            assert_eq!(end.told > 0, net.ends[1 - who].infos > 0);
        }
    }
    for who in 0..2 {
        let End { sent, left, .. } = &net.ends[1 - who];
        check_order(&net.ends[who].got, sent, left);
    }
    let longest = IDLE_TIMEOUT + IDLE_JITTER;
    net.pass(longest);
    net.pass(longest);
    for end in &mut net.ends {
        assert!(end.session.is_closed());
        let last = message(0, 9, None);
        assert_eq!(end.session.queue(net.now, last, Priority::Control), Err(Full::Closed));
    }
}
