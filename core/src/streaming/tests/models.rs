//! Other routers' senders, as far as their timing goes, against our acks.

use super::super::*;
use super::peer::*;
use std::println;

extern crate std;

/// The sender of a router of 2023 (i2pd 2.45): it takes the mean of all round trips, waits one and
/// a half of it, and then sends everything that is that old again.
struct OldSender {
    window: u32,
    max_window: u32,
    rtt: u64,
    rto: u64,
    grown: u64,
    timer: Option<u64>,
    sent: BTreeMap<u32, u64>,
    next: u32,
    again: u32,
}

impl OldSender {
    fn acked(&mut self, now: u64, got: &Got) {
        let mut any = false;
        let gone: Vec<_> = self
            .sent
            .range(..=got.through)
            .map(|(s, at)| (*s, *at))
            .filter(|(s, _)| !got.nacks.contains(s))
            .collect();
        for (sequence, at) in gone {
            self.sent.remove(&sequence);
            let n = u64::from(sequence);
            self.rtt = (self.rtt * n + (now - at) + n / 2) / (n + 1);
            self.rto = self.rtt * 3 / 2;
            any = true;
            if self.window < 6 {
                self.window += 1;
            } else if now > self.grown + self.rtt {
                self.window = (self.window + 1).min(self.max_window);
                self.grown = now;
            }
        }
        if self.sent.is_empty() {
            self.timer = None;
        }
        let _ = any;
    }

    /// What goes now.
    fn poll(&mut self, now: u64) -> Vec<u32> {
        let mut out = Vec::new();
        if self.timer.is_some_and(|at| at <= now) {
            let old: Vec<_> =
                self.sent.iter().filter(|(_, at)| now >= *at + self.rto).map(|(s, _)| *s).collect();
            if !old.is_empty() {
                self.again += old.len() as u32;
                self.window = (self.window / 2).max(1);
                self.rto *= 2;
                for sequence in &old {
                    self.sent.insert(*sequence, now);
                }
                out.extend(old);
            }
            self.timer = Some(now + self.rto);
        }
        while (self.sent.len() as u32) < self.window {
            out.push(self.next);
            self.sent.insert(self.next, now);
            self.next += 1;
        }
        if self.timer.is_none() {
            self.timer = Some(now + self.rto);
        }
        out
    }
}

/// What an old router reaches with us as the client, over a line of 4 MB/s.
#[test]
fn an_old_sender_is_fast_with_our_acks() {
    for trip in [10, 15, 25] {
        let mut peer = Peer::new();
        let id = peer.open();
        let mut old = OldSender {
            window: 6,
            max_window: 128,
            rtt: trip,
            rto: trip * 3 / 2,
            grown: 0,
            timer: None,
            sent: BTreeMap::new(),
            next: 1,
            again: 0,
        };
        let micros = |at: Instant| at.as_micros();
        let start = peer.now;
        let (mut there, mut back) = (VecDeque::new(), VecDeque::new());
        let mut free = 0;
        let (mut bytes, mut acks, mut sink) = (0, 0, Vec::new());
        while bytes < 10_000_000 {
            let now = micros(peer.now);
            for sequence in old.poll(now / 1000) {
                free = now.max(free) + 450;
                there.push_back((free + trip * 500, sequence));
            }
            let due = |queue: &VecDeque<(u64, _)>| queue.front().map(|(at, _)| *at);
            let ours = peer.streams.poll_timeout().map(micros);
            let theirs = old.timer.map(|at| at * 1000);
            let acked = back.front().map(|(at, _): &(u64, Got)| *at);
            let next = [due(&there), acked, ours, theirs]
                .into_iter()
                .flatten()
                .min()
                .unwrap()
                .max(now + 1);
            peer.now = Instant::from_micros(next);
            peer.streams.handle_timeout(peer.now);
            while there.front().is_some_and(|(at, _)| *at <= next) {
                let (_, sequence) = there.pop_front().unwrap();
                peer.send(&peer.packet(sequence, 0, &[0; 1812]));
                bytes += peer.streams.read(peer.now, id, usize::MAX, &mut sink);
                sink.clear();
            }
            for got in peer.recv() {
                acks += 1;
                back.push_back((next + trip * 500, got));
            }
            while back.front().is_some_and(|(at, _)| *at <= next) {
                let (_, got) = back.pop_front().unwrap();
                old.acked(next / 1000, &got);
            }
        }
        let took = peer.now.saturating_since(start);
        let rate = 10_000_000 / took.as_millis();
        println!("{trip} ms: {rate} KB/s, {} again, {acks} acks, window {}", old.again, old.window);
        assert!(rate > 2000 && old.again < 200);
    }
}
