use super::*;
use crate::rng::{Rng, Seed};
use crate::wire::hash::Hash;
use alloc::vec::Vec;

/// What was sent, by sequence number, and whether its ack came.
#[derive(Default)]
struct Model {
    sent: Vec<(Vec<u8>, bool)>,
    written: Vec<u8>,
}

impl Model {
    /// The first that is not acknowledged.
    fn base(&self) -> usize {
        self.sent.iter().take_while(|(_, acked)| *acked).count()
    }

    fn took(&mut self, sender: &Sender, chunk: &Chunk, seed: u64) {
        let payload = sender.payload(chunk).concat();
        let sequence = chunk.sequence as usize;
        match self.sent.get(sequence) {
            Some((before, acked)) => {
                assert!(chunk.again && !acked, "seed {seed}: {sequence} has arrived");
                assert!(*before == payload, "seed {seed}: {sequence} says something else now");
            }
            None => {
                assert_eq!((sequence, chunk.again), (self.sent.len(), false), "seed {seed}");
                self.sent.push((payload, false));
            }
        }
    }

    /// How many an ack is news of; `None` if it speaks of what was never sent.
    fn ack(&mut self, through: u32, nacks: &[u32]) -> Option<u32> {
        let all = self.sent.get_mut(..=through as usize)?;
        let mut news = 0;
        for (sequence, (_, acked)) in (0..).zip(all) {
            if !*acked && !nacks.contains(&sequence) {
                *acked = true;
                news += 1;
            }
        }
        Some(news)
    }

    fn check(&self, sender: &Sender, path: &Path, seed: u64) {
        let (base, sent) = (self.base(), self.sent.len());
        assert_eq!(sender.next_sequence() as usize, sent, "seed {seed}");
        assert_eq!(sender.outstanding(), sent - base, "seed {seed}");
        let count = |wanted: State| sender.window.iter().filter(|s| s.state == wanted).count();
        let acked = self.sent.iter().skip(base).filter(|(_, acked)| *acked).count();
        assert_eq!(count(State::Acked), acked, "seed {seed}");
        assert_eq!(count(State::Lost), sender.lost.len(), "seed {seed}");
        assert_eq!(count(State::Flying), sender.flying as usize, "seed {seed}");
        assert_eq!(count(State::Adrift), sender.adrift as usize, "seed {seed}");
        assert_eq!(path.congestion.flying(), sender.flying, "seed {seed}");
        let arrived: usize = self.sent.iter().take(base).map(|(bytes, _)| bytes.len()).sum();
        assert_eq!(sender.bytes(), self.written.len() - arrived, "seed {seed}");
        // Whoever waits for an ack is woken some time.
        assert!(sender.outstanding() == 0 || sender.deadline().is_some(), "seed {seed}");
    }
}

/// Packets are taken, acknowledged in any order or not at all, and found lost; a plain list knows what has
/// arrived.
#[test]
fn any_acks_leave_in_the_window_what_a_plain_list_says() {
    let mut again = 0;
    for seed in 0..300 {
        let mut rng = Rng::new(&Seed::from_number(seed));
        let mut now = Instant::ZERO + Duration::from_secs(1);
        let mut path = Path::new(now, Hash::of(b"remote"));
        let mut sender = Sender::new(100 + rng.index(400), true);
        let mut model = Model::default();
        let acked = |model: &mut Model,
                     sender: &mut Sender,
                     path: &mut Path,
                     now,
                     through,
                     nacks: &[u32]| {
            let (before, expected) = (model.base(), model.ack(through, nacks));
            let outcome = sender.handle_ack(now, path, through, nacks);
            assert_eq!(outcome.invalid, expected.is_none(), "seed {seed}");
            assert_eq!(outcome.acked, expected.unwrap_or(0), "seed {seed}");
            assert_eq!(outcome.progress, model.base() > before, "seed {seed}");
        };
        for _ in 0..400 {
            match rng.below(10) {
                0..2 => {
                    let bytes: Vec<u8> = (0..rng.index(2000)).map(|_| rng.u32() as u8).collect();
                    sender.write(&bytes);
                    model.written.extend(bytes);
                }
                2..6 => {
                    for _ in 0..rng.index(20) {
                        if sender.next() == Next::Idle {
                            break;
                        }
                        let Some(chunk) = sender.take(now, &mut path) else { break };
                        model.took(&sender, &chunk, seed);
                    }
                }
                6..8 => {
                    // Of some time ago, of now, or of what was never sent; a few are missing.
                    let sent = model.sent.len();
                    let through = (sent + 3).saturating_sub(rng.index(40)) as u32;
                    let mut nacks: Vec<u32> =
                        (0..rng.index(12)).map(|_| rng.index(sent + 5) as u32).collect();
                    nacks.sort_unstable();
                    acked(&mut model, &mut sender, &mut path, now, through, &nacks);
                }
                _ => {
                    now = now + Duration::from_millis(rng.below(400));
                    if sender.deadline().is_some_and(|at| at <= now) {
                        sender.handle_timeout(now, &mut path);
                    }
                }
            }
            model.check(&sender, &path, seed);
        }
        // A peer that takes all: it gets every byte, and the end.
        sender.close();
        for _ in 0..2000 {
            while sender.next() != Next::Idle {
                let Some(chunk) = sender.take(now, &mut path) else { break };
                model.took(&sender, &chunk, seed);
            }
            if let Some(last) = model.sent.len().checked_sub(1) {
                acked(&mut model, &mut sender, &mut path, now, last as u32, &[]);
            }
            model.check(&sender, &path, seed);
            now = now + Duration::from_millis(100);
        }
        assert!(sender.is_finished(), "seed {seed}");
        let bytes: Vec<u8> = model.sent.iter().flat_map(|(bytes, _)| bytes).copied().collect();
        assert!(bytes == model.written, "seed {seed}");
        again += sender.resent();
    }
    assert!(again > 1000, "{again}");
}
