//! A thousand messages lost in a row, each message twice, each up to 300 places late: what is said
//! afterwards comes through within one new session and a round trip, and nothing comes twice.

use super::*;

/// Each message comes twice, and may overtake 300 others that went a millisecond apart.
const SHUFFLED: Link = Link { loss: 0, duplicate: 100, delay: (20, 320) };
/// The longest round trip of that.
const ROUND_TRIP: Duration = Duration::from_millis(640);

/// Messages that are counted, from node 0 to node 1, which says something itself now and then.
struct Talk {
    net: Net,
    sent: u32,
}

impl Talk {
    fn new(seed: u64, link: Link, next_key_at: u32) -> Self {
        let mut net = Net::established(seed, link);
        // Sets of a few dozen would be gone before who is 300 places late gets there.
        net.nodes.iter_mut().for_each(|node| node.sessions.next_key_at = next_key_at);
        Self { net, sent: 0 }
    }

    /// For so many milliseconds, one message in each; if `patient`, only as many as there is room for.
    fn speak(&mut self, ms: u32, patient: bool) {
        for n in 0..ms {
            let ready = matches!(self.net.readiness(0), Readiness::Ready { .. });
            if (ready || !patient) && self.net.send(0, &self.sent.to_be_bytes()).is_ok() {
                self.sent += 1;
            }
            if n % 50 == 0 {
                let _ = self.net.send(1, &self.net.now.as_micros().to_be_bytes());
            }
            self.net.ms(1);
        }
    }

    /// What node 1 got, by number; nothing of it twice.
    fn got(&self, seed: u64) -> Vec<u32> {
        let number = |text: &Vec<u8>| u32::from_be_bytes(text[..].try_into().unwrap());
        let mut got: Vec<u32> = self.net.nodes[1].texts.iter().map(number).collect();
        got.sort_unstable();
        for node in &self.net.nodes {
            let mut texts = node.texts.clone();
            texts.sort();
            texts.dedup();
            assert_eq!(texts.len(), node.texts.len(), "seed {seed}: something came twice");
        }
        got
    }

    /// All that was sent since `from` came.
    fn whole_since(&self, seed: u64, from: u32) {
        let got: Vec<u32> = self.got(seed).into_iter().filter(|n| *n >= from).collect();
        let want: Vec<u32> = (from..self.sent).collect();
        let lost: Vec<u32> = want.iter().filter(|n| !got.contains(n)).copied().collect();
        assert!(got == want, "seed {seed}: {lost:?} lost");
    }

    /// Only what may be is refused.
    fn only_replays_refused(&self, seed: u64) {
        for node in &self.net.nodes {
            let refused = node.refused.iter().all(|error| *error == OpenError::Replayed);
            assert!(refused, "seed {seed}: {:?}", node.refused);
            assert!(node.kinds.iter().all(|kind| *kind == Kind::Existing), "seed {seed}");
        }
    }
}

#[test]
fn three_hundred_places_late_and_twice_nothing_of_the_window_is_lost() {
    for seed in 300..306 {
        // A sender that keeps to the room there is, from the first message on and over many sets.
        let mut talk = Talk::new(seed, SHUFFLED, [150, 700, 4096][seed as usize % 3]);
        talk.speak(6000, true);
        talk.net.ms(1000);
        assert!(talk.sent > 2000, "seed {seed}: only {} went", talk.sent);
        talk.whole_since(seed, 0);
        talk.only_replays_refused(seed);
    }
}

#[test]
fn a_window_that_has_grown_takes_three_hundred_places_from_any_sender() {
    for seed in 310..314 {
        let mut talk = Talk::new(seed, GOOD, 4096);
        talk.speak(700, false);
        talk.net.link = SHUFFLED;
        talk.speak(3000, false);
        talk.net.ms(1000);
        assert_eq!(talk.sent, 3700);
        talk.whole_since(seed, 0);
        talk.only_replays_refused(seed);
    }
}

/// What is lost in a row: what node 0 says alone, or what both say; said without a thought, or with one.
#[test]
fn after_a_thousand_lost_in_a_row_all_goes_on_within_a_new_session() {
    for seed in 320..332 {
        let (both, patient) = (seed % 2 == 0, seed % 4 > 1);
        let link = if seed % 3 == 0 { GOOD } else { SHUFFLED };
        let mut talk = Talk::new(seed, link, 700);
        talk.speak(1500, true);
        talk.net.ms(1000);
        talk.whole_since(seed, 0);

        talk.net.cut = [both, true];
        let lost_from = talk.sent;
        while talk.sent < lost_from + 1000 {
            talk.speak(if patient { 100 } else { 10 }, patient);
        }
        let lost_until = talk.sent;
        talk.net.ms(400);
        talk.net.cut = [false; 2];
        let healed = talk.net.now;
        talk.net.nodes.iter_mut().for_each(|node| node.kinds.clear());

        // A new session may have to wait for its turn, and then takes one way.
        let fresh = |net: &Net| net.nodes[1].kinds.contains(&Kind::NewSession);
        while !fresh(&talk.net) && talk.net.nodes[1].texts.len() < lost_from as usize + 20 {
            talk.speak(10, true);
            let waited = talk.net.now.saturating_since(healed);
            assert!(waited < limits::MAX_OPEN_INTERVAL + ROUND_TRIP, "seed {seed}: {waited:?}");
        }
        talk.speak(ROUND_TRIP.as_millis() as u32, true);
        let from = talk.sent;
        talk.speak(1500, true);
        talk.net.ms(1000);
        assert!(talk.sent > from + 200, "seed {seed}: only {} went", talk.sent - from);
        assert_eq!(talk.net.kind(0), Some(Kind::Existing), "seed {seed}");
        talk.whole_since(seed, from);
        let got = talk.got(seed);
        assert!(!got.iter().any(|n| (lost_from..lost_until).contains(n)), "seed {seed}");
    }
}
