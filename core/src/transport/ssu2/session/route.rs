//! Where the peer is: packets from elsewhere are believed only when it answers from there (specification `ssu2`,
//! "Connection Migration").

use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::ssu2::{BLOCK_HEADER_LEN, PacketType};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

/// Bytes of a challenge.
const CHALLENGE_LEN: usize = 8;
/// Challenges to one new address, and the time between them.
const TRIES: u8 = 4;
const AGAIN: Duration = Duration::from_secs(1);
/// Bytes of the packet with one.
const CHALLENGE_PACKET: usize = PacketType::Data.overhead() + BLOCK_HEADER_LEN + CHALLENGE_LEN;
/// Answers to challenges that wait; more are dropped.
pub(super) const MAX_ANSWERS: usize = 4;
/// The longest challenge that is answered.
const MAX_ANSWER: usize = 64;

/// The way to the peer.
#[derive(Debug)]
pub(super) struct Route {
    remote: SocketAddr,
    other: Option<Candidate>,
    answers: VecDeque<(SocketAddr, Vec<u8>)>,
}

/// Another address that packets of the peer came from.
#[derive(Debug)]
struct Candidate {
    remote: SocketAddr,
    challenge: [u8; CHALLENGE_LEN],
    tries: u8,
    next: Instant,
    /// Bytes that came from there, and challenges in bytes that went there: three times as much at most, since
    /// nobody has shown that the peer is there.
    came: usize,
    went: usize,
}

impl Route {
    pub(super) const fn new(remote: SocketAddr) -> Self {
        Self { remote, other: None, answers: VecDeque::new() }
    }

    /// Where packets go.
    pub(super) const fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// A packet that authenticated and is newer than all before came from here. One new address is looked at at a
    /// time: whoever can replay packets faster than they come can lead us to ask there, and no further.
    ///
    /// Who can also pass on the challenge and its answer becomes the way, as whoever is on the way is.
    pub(super) fn handle_source(
        &mut self,
        now: Instant,
        from: SocketAddr,
        len: usize,
        rng: &mut Rng,
    ) {
        if from == self.remote {
            self.other = None;
            return;
        }
        if self.other.as_ref().is_none_or(|o| o.tries >= TRIES && now >= o.next) {
            let (challenge, tries, next) = (rng.bytes(), 0, now);
            let (came, went) = (0, 0);
            self.other = Some(Candidate { remote: from, challenge, tries, next, came, went });
        }
        if let Some(other) = self.other.as_mut().filter(|o| o.remote == from) {
            other.came = other.came.saturating_add(len);
        }
    }

    /// The peer wants this back where it sent it from.
    pub(super) fn handle_challenge(&mut self, from: SocketAddr, data: &[u8]) {
        if data.len() <= MAX_ANSWER && self.answers.len() < MAX_ANSWERS {
            self.answers.push_back((from, data.to_vec()));
        }
    }

    /// The peer gave this back; says whether it moved.
    pub(super) fn handle_response(&mut self, from: SocketAddr, data: &[u8]) -> bool {
        let Some(other) = self.other.take_if(|o| o.remote == from && o.challenge == data) else {
            return false;
        };
        self.remote = other.remote;
        true
    }

    /// The next challenge that is due, and where to.
    pub(super) fn challenge(&mut self, now: Instant) -> Option<(SocketAddr, [u8; CHALLENGE_LEN])> {
        let other = self.other.as_mut().filter(|o| o.may_ask() && now >= o.next)?;
        other.tries += 1;
        other.went += CHALLENGE_PACKET;
        other.next = now + AGAIN;
        Some((other.remote, other.challenge))
    }

    /// The next answer to a challenge, and where to.
    pub(super) fn answer(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.answers.pop_front()
    }

    /// Answers that wait.
    pub(super) fn answers(&self) -> usize {
        self.answers.len()
    }

    /// When a challenge is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.other.as_ref().filter(|o| o.may_ask()).map(|o| o.next)
    }
}

impl Candidate {
    const fn may_ask(&self) -> bool {
        self.tries < TRIES && self.went + CHALLENGE_PACKET <= self.came.saturating_mul(3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn the_peer_moves_when_it_answers_from_there_and_not_before() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut route = Route::new(at(1));
        let now = Instant::ZERO;
        route.handle_source(now, at(1), 60, &mut rng);
        assert_eq!(route.challenge(now), None);
        route.handle_source(now, at(2), 60, &mut rng);
        let (to, challenge) = route.challenge(now).unwrap();
        assert_eq!(to, at(2));
        assert!(!route.handle_response(at(3), &challenge));
        assert!(!route.handle_response(at(1), &challenge));
        assert!(!route.handle_response(at(2), &[0; CHALLENGE_LEN]));
        assert_eq!(route.remote(), at(1));
        assert!(route.handle_response(at(2), &challenge));
        assert_eq!(route.remote(), at(2));
        assert!(!route.handle_response(at(2), &challenge));
    }

    #[test]
    fn challenges_and_answers_are_few() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut route = Route::new(at(1));
        let mut now = Instant::ZERO;
        route.handle_source(now, at(2), 40, &mut rng);
        let mut count = 0;
        for _ in 0..100 {
            route.handle_source(now, at(3), 40, &mut rng);
            count += usize::from(route.challenge(now).is_some_and(|(to, _)| to == at(2)));
            now = now + AGAIN / 10;
        }
        // For one packet of 40 bytes.
        assert_eq!(count, 120 / CHALLENGE_PACKET);
        assert_eq!(route.deadline(), None);
        for _ in 0..100 {
            route.handle_source(now, at(2), 40, &mut rng);
            count += usize::from(route.challenge(now).is_some_and(|(to, _)| to == at(2)));
            now = now + AGAIN / 10;
        }
        // One a second, and so it goes on as long as packets come from there.
        assert!((TRIES.into()..=12).contains(&count), "{count}");
        for _ in 0..100 {
            route.handle_challenge(at(2), b"challenge");
        }
        assert_eq!(route.answers(), MAX_ANSWERS);
        assert_eq!(route.answer(), Some((at(2), b"challenge".to_vec())));
    }
}
