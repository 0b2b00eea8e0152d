//! The packets that a session makes.

use super::frame::{Frame, Part};
use super::{
    ACK_PAIRS, ACK_ROOM, GOODBYE_AGAIN, LARGE_AGAIN, MAX_ACK_PAIRS, MAX_FRAMES, MAX_LATE, PADDING,
    Session, SessionError, State,
};
use crate::crypto::aead;
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};
use crate::wire::ssu2::{
    BLOCK_HEADER_LEN, Block, MIN_MTU, MIN_PAYLOAD_LEN, SHORT_HEADER_LEN, ShortHeader, ShortKind,
    Writer, protect,
};
use alloc::vec::Vec;
use core::net::SocketAddr;

impl Session {
    pub(super) fn transmit(
        &mut self,
        now: Instant,
        unix: UnixTime,
        out: &mut Vec<u8>,
    ) -> Option<SocketAddr> {
        let remote = self.route.remote();
        match &mut self.state {
            State::Confirming(confirming) if now >= confirming.next => {
                let datagram = confirming.datagrams.get(confirming.at)?;
                out.extend_from_slice(datagram);
                confirming.at += 1;
                if confirming.at == confirming.datagrams.len() {
                    confirming.at = 0;
                    confirming.next = now + confirming.again;
                    confirming.again *= 2;
                }
                return Some(remote);
            }
            State::Closing { reason, left, next, .. } => {
                if *left == 0 || now < *next {
                    return None;
                }
                *left -= 1;
                *next = now + GOODBYE_AGAIN;
                let (packets, reason) = (self.received.packets(), *reason);
                self.write(now, true, out, |writer| {
                    let _fits = writer.put(&Block::Termination { packets, reason });
                })?;
                return Some(remote);
            }
            State::Closed => return None,
            State::Confirming(_) | State::Confirmed { .. } | State::Open => {}
        }
        if let Some((to, data)) = self.route.answer() {
            self.write(now, to == remote, out, |writer| {
                let _fits = writer.put(&Block::PathResponse(&data));
            })?;
            return Some(to);
        }
        if let Some((to, challenge)) = self.route.challenge(now) {
            self.write(now, false, out, |writer| {
                let _fits = writer.put(&Block::PathChallenge(&challenge));
            })?;
            return Some(to);
        }
        if self.transmit_data(now, unix, out) {
            return Some(remote);
        }
        if self.is_open() && self.received.ack_at().is_some_and(|at| at <= now) {
            let ranges: Vec<_> = self.received.ranges().collect();
            self.received.acked();
            self.write(now, true, out, |writer| {
                let _fits = writer.ack(ranges, MAX_ACK_PAIRS);
            })?;
            return Some(remote);
        }
        None
    }

    /// Appends a packet with what has to arrive, if there is something and it may go.
    pub(super) fn transmit_data(
        &mut self,
        now: Instant,
        unix: UnixTime,
        out: &mut Vec<u8>,
    ) -> bool {
        self.paced = None;
        if !self.has_data(now, unix) {
            return false;
        }
        match self.flight.gate(now) {
            Some(at) if at <= now => {}
            later => {
                self.paced = later;
                return false;
            }
        }
        if self.shrunk.is_some_and(|at| now.saturating_since(at) >= LARGE_AGAIN) {
            self.flight.forget_large();
            self.mtu = self.largest;
            self.shrunk = None;
        }
        let Some((start, number)) = self.begin(now, out) else { return false };
        let mut frames = Vec::new();
        let mut writer = Writer::new(out, self.payload(self.mtu));
        if self.received.ack_at().is_some() {
            let _fits = writer.ack(self.received.ranges(), ACK_PAIRS);
            self.received.acked();
        }
        while frames.len() < MAX_FRAMES
            && let Some(frame) = self.next_frame(now, unix, &mut writer)
        {
            frames.push(frame);
        }
        if writer.written() == 0 {
            // What there was has been given up.
            out.truncate(start);
            return false;
        }
        let sent = frames.len() as u64;
        let large = writer.written() > self.payload(MIN_MTU);
        pad(&mut writer, true, &mut self.rng);
        self.active = now;
        self.flight.note(now, frames, large);
        self.stats.messages_out += sent;
        self.finish(start, number, out)
    }

    /// Whether something waits that has to arrive. Drops what is too old.
    pub(super) fn has_data(&mut self, now: Instant, unix: UnixTime) -> bool {
        while self
            .flight
            .again()
            .is_some_and(|f| f.expires().is_some_and(|at| at + MAX_LATE < unix))
        {
            let _late = self.flight.take_again();
            self.stats.dropped += 1;
        }
        self.flight.has_again()
            || !self.first.is_empty()
            || !self.parts.is_empty()
            || self.queue.peek_len(now, unix).is_some()
    }

    /// Writes the next thing that fits, and gives it out.
    pub(super) fn next_frame(
        &mut self,
        now: Instant,
        unix: UnixTime,
        writer: &mut Writer<'_>,
    ) -> Option<Frame> {
        let whole = self.payload(self.mtu) - ACK_ROOM;
        while let Some(frame) = self.flight.again() {
            if frame.put(writer).is_ok() {
                return self.flight.take_again();
            }
            // What was cut for longer packets than there may be now is lost with its message.
            let hopeless = writer.room() >= whole;
            if !hopeless {
                return None;
            }
            match self.flight.take_again() {
                Some(Frame::Message(message)) => {
                    for part in Part::cut(&message, whole).into_iter().rev() {
                        self.parts.push_front(part);
                    }
                }
                _ => self.stats.dropped += 1,
            }
        }
        if let Some(frame) = self.first.front() {
            frame.put(writer).ok()?;
            return self.first.pop_front();
        }
        loop {
            if let Some(part) = self.parts.front() {
                let frame = Frame::Part(part.clone());
                match frame.put(writer) {
                    Ok(()) => {
                        self.parts.pop_front();
                        return Some(frame);
                    }
                    Err(_) if writer.room() >= whole => {
                        self.parts.clear();
                        self.stats.dropped += 1;
                    }
                    Err(_) => return None,
                }
            }
            let len = self.queue.peek_len(now, unix)?;
            if len <= whole && len > writer.room() {
                return None;
            }
            let message = self.queue.pop()?;
            if len <= whole {
                let frame = Frame::Message(message);
                return frame.put(writer).ok().map(|()| frame);
            }
            self.parts = Part::cut(&message, whole).into();
            if self.parts.is_empty() {
                self.stats.dropped += 1;
            }
        }
    }

    /// Appends a packet of one block that nobody waits for, `padded` if it goes where the peer is known to be.
    pub(super) fn write(
        &mut self,
        now: Instant,
        padded: bool,
        out: &mut Vec<u8>,
        blocks: impl FnOnce(&mut Writer<'_>),
    ) -> Option<()> {
        let (start, number) = self.begin(now, out)?;
        let mut writer = Writer::new(out, self.payload(MIN_MTU));
        blocks(&mut writer);
        pad(&mut writer, padded, &mut self.rng);
        self.flight.note(now, Vec::new(), false);
        self.finish(start, number, out).then_some(())
    }

    /// Appends the header of the next packet; says where it starts, and its number.
    pub(super) fn begin(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<(usize, u32)> {
        let number = self.flight.next_number();
        if number == u32::MAX {
            // A nonce is never used twice.
            self.end(now, SessionError::Numbers);
            self.state = State::Closed;
            return None;
        }
        let start = out.len();
        let kind = ShortKind::Data { immediate_ack: false };
        ShortHeader { destination: self.theirs, number, kind }.encode(out);
        Some((start, number))
    }

    /// Seals and protects what was appended since `start`. False when there is no packet after all.
    pub(super) fn finish(&mut self, start: usize, number: u32, out: &mut Vec<u8>) -> bool {
        let Some((header, text)) =
            out.get_mut(start..).and_then(|p| p.split_at_mut_checked(SHORT_HEADER_LEN))
        else {
            return false;
        };
        let tag = aead::seal(&self.keys.send.data, number.into(), header, text);
        out.extend_from_slice(&tag);
        let (intro, key) = (&self.intro, &self.keys.send.header);
        let protected = out.get_mut(start..).map(|packet| protect::protect(packet, intro, key));
        if !matches!(protected, Some(Ok(()))) {
            // Nothing ever leaves with its header in the clear.
            out.truncate(start);
            return false;
        }
        true
    }
}

/// Pads a payload: at random if it may be and there is room, and in any case as much as header protection needs.
fn pad(writer: &mut Writer<'_>, random: bool, rng: &mut Rng) {
    let padding = rng.below(PADDING) as usize;
    let fits = random && BLOCK_HEADER_LEN + padding <= writer.room();
    let len = if fits { writer.written() + BLOCK_HEADER_LEN + padding } else { 0 };
    // There is room for as much as has to be.
    let _fits = writer.pad_to(len.max(MIN_PAYLOAD_LEN));
}
