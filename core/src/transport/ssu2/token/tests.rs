use super::*;
use crate::rng::Seed;
use crate::time::UnixTime;

const START: Instant = Instant::from_micros(1_234_567_890);

const KINDS: [Kind; 2] = [Kind::Retry, Kind::Later];

impl Tokens {
    /// Checks and spends.
    fn take(&mut self, now: Instant, from: SocketAddr, token: u64) -> Result<(), TokenError> {
        let valid = self.check(now, from, token)?;
        self.spend(valid)
    }
}

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

fn tokens(seed: u64) -> (Tokens, Rng) {
    let mut rng = Rng::new(&Seed::from_number(seed));
    (Tokens::new(&mut rng), rng)
}

fn give(tokens: &Tokens, kind: Kind, now: Instant, to: SocketAddr, rng: &mut Rng) -> u64 {
    tokens.give(kind, now, to, rng).0.get()
}

#[test]
fn a_token_is_good_once_and_from_its_address_only() {
    let (mut tokens, mut rng) = tokens(1);
    let peer = at("192.0.2.1", 4567);
    for kind in KINDS {
        let token = give(&tokens, kind, START, peer, &mut rng);
        for other in [at("192.0.2.1", 4568), at("192.0.2.2", 4567), at("2001:db8::1", 4567)] {
            assert_eq!(tokens.take(START, other, token).unwrap_err(), TokenError::Unknown);
        }
        let [one, two] = [(); 2].map(|()| tokens.check(START, peer, token).unwrap());
        assert_eq!((one.from(), one.token()), (peer, token));
        tokens.spend(one).unwrap();
        assert_eq!(tokens.spend(two).unwrap_err(), TokenError::Used);
        assert_eq!(tokens.check(START, peer, token).unwrap_err(), TokenError::Used);
        assert_eq!(tokens.take(START, peer, token).unwrap_err(), TokenError::Used);
    }
}

#[test]
fn an_ipv4_address_is_the_same_within_ipv6() {
    let (mut tokens, mut rng) = tokens(1);
    let token = give(&tokens, Kind::Retry, START, at("192.0.2.1", 9), &mut rng);
    tokens.take(START, at("::ffff:192.0.2.1", 9), token).unwrap();
}

#[test]
fn a_token_is_good_until_it_expires_and_not_longer() {
    let peer = at("2001:db8::1", 9);
    for (kind, least, most) in [(Kind::Retry, 10, 12), (Kind::Later, 55 * 60, 60 * 60)] {
        for offset in [0, 1, 999_999, 1_000_000, 1_999_999, 299_999_999] {
            let now = START + Duration::from_micros(offset);
            let (mut tokens, mut rng) = tokens(offset);
            let (token, left) = tokens.give(kind, now, peer, &mut rng);
            assert!(left > Duration::from_secs(least) && left <= Duration::from_secs(most));
            let (again, _) = tokens.give(kind, now, peer, &mut rng);
            let end = now + left;
            let moment = Duration::from_micros(1);
            tokens.take(end - moment, peer, token.get()).unwrap();
            assert_eq!(tokens.take(end - moment, peer, token.get()).unwrap_err(), TokenError::Used);
            // Nor when its low bits come round.
            for epochs in 0..40 {
                let later = end + kind.epoch() * epochs;
                for token in [token, again] {
                    let result = tokens.take(later, peer, token.get());
                    assert_eq!(result.unwrap_err(), TokenError::Unknown, "{epochs}");
                }
            }
        }
    }
}

#[test]
fn no_token_that_differs_in_a_bit_is_good() {
    let (mut tokens, mut rng) = tokens(2);
    let peer = at("192.0.2.1", 4567);
    for kind in KINDS {
        let token = give(&tokens, kind, START, peer, &mut rng);
        for bit in 0..64 {
            let result = tokens.take(START, peer, token ^ 1 << bit);
            assert_eq!(result.unwrap_err(), TokenError::Unknown, "{bit}");
        }
        tokens.take(START, peer, token).unwrap();
    }
    assert_eq!(tokens.take(START, peer, 0).unwrap_err(), TokenError::Unknown);
    for _ in 0..10_000 {
        assert_eq!(tokens.take(START, peer, rng.u64()).unwrap_err(), TokenError::Unknown);
    }
}

// Of each nonce, expiry and kind there is one, and so 2^14 of 2^64 at most.
#[test]
fn a_guess_is_good_with_a_chance_of_one_in_two_to_the_fifty_at_most() {
    let (tokens, mut rng) = tokens(3);
    let peer = at("192.0.2.1", 4567);
    let mut seen = BTreeSet::new();
    for kind in KINDS {
        for _ in 0..20_000 {
            seen.insert(give(&tokens, kind, START, peer, &mut rng));
        }
    }
    // All nonces came; each has one token now, and there are fewer than 16 expiries in its life.
    assert_eq!(seen.len(), 2 << NONCE_BITS);
    assert!(seen.len() << EXPIRY_BITS <= 1 << 14);
    // Their last bits look random: 1,024 of 50 bits that all differ, of which half are ones.
    let macs: BTreeSet<_> = seen.iter().map(|token| token & mask(MAC_BITS)).collect();
    assert_eq!(macs.len(), seen.len());
    let ones: u32 = macs.iter().map(|mac| mac.count_ones()).sum();
    assert!((25_000..26_200).contains(&ones), "{ones} of 51,200");
}

#[test]
fn tokens_of_an_earlier_run_are_unknown() {
    let ((before, mut rng), (mut after, _)) = (tokens(1), tokens(2));
    let peer = at("192.0.2.1", 4567);
    let token = give(&before, Kind::Later, START, peer, &mut rng);
    assert_eq!(after.take(START, peer, token).unwrap_err(), TokenError::Unknown);
}

#[test]
fn a_full_log_refuses_and_does_not_touch_the_other_kind() {
    for kind in KINDS {
        let (mut tokens, mut rng) = tokens(1);
        let mut now = START;
        let mut taken = 0;
        let full = loop {
            let peer = at("192.0.2.1", (taken % 60_000) as u16 + 1);
            let token = give(&tokens, kind, now, peer, &mut rng);
            match tokens.take(now, peer, token) {
                Ok(_) => taken += 1,
                Err(TokenError::Used) => {}
                Err(error) => break (error, peer, token),
            }
            tokens.audit(&mut Audit(&mut |bound| assert!(bound.holds(), "{bound}")));
        };
        let (error, peer, token) = full;
        assert_eq!((error, taken), (TokenError::Full, Tokens::LOG_CAPACITY));
        // What was refused was not used.
        assert_eq!(tokens.take(now, peer, token).unwrap_err(), TokenError::Full);
        let other = KINDS.into_iter().find(|other| *other != kind).unwrap();
        let token = give(&tokens, other, now, peer, &mut rng);
        tokens.take(now, peer, token).unwrap();
        now = now + kind.epoch() * kind.epochs() as u32;
        let token = give(&tokens, kind, now, peer, &mut rng);
        tokens.take(now, peer, token).unwrap();
        assert!(tokens.used.iter().all(|log| log.len == 1), "the expired are forgotten");
        for log in &tokens.used {
            assert_eq!(log.len, log.epochs.values().map(BTreeSet::len).sum::<usize>());
        }
    }
}

const UNIX: UnixTime = UnixTime::from_secs(1_800_000_000);

#[test]
fn a_received_token_is_taken_once_and_before_it_expires() {
    let mut store = ReceivedTokens::new();
    let (peer, other) = (at("192.0.2.1", 1), at("192.0.2.1", 2));
    let expires = UNIX.as_secs() + 100;
    store.insert(START, UNIX, peer, expires, 5);
    assert_eq!(store.take(START, other), None);
    assert_eq!(store.take(START, at("::ffff:192.0.2.1", 1)), NonZeroU64::new(5));
    assert_eq!(store.take(START, peer), None);
    // The latest one counts.
    store.insert(START, UNIX, peer, expires, 6);
    store.insert(START, UNIX, peer, expires + 1, 7);
    assert_eq!(store.len(), 1);
    assert_eq!(store.take(START + Duration::from_secs(100), peer), NonZeroU64::new(7));
    store.insert(START, UNIX, peer, expires, 8);
    assert_eq!(store.take(START + Duration::from_secs(100), peer), None);
    // No token, one that is expired, one that would be for ever.
    store.insert(START, UNIX, peer, expires, 0);
    store.insert(START, UNIX, peer, UNIX.as_secs(), 9);
    assert!(store.is_empty());
    store.insert(START, UNIX, peer, u32::MAX, 9);
    assert_eq!(store.take(START + MAX_RECEIVED, peer), None);
    store.insert(START, UNIX, peer, expires, 9);
    store.clear();
    assert_eq!(store.take(START, peer), None);
}

const MAX_RECEIVED: Duration = Duration::from_hours(2);

#[test]
fn a_full_store_forgets_what_expires_first() {
    let mut store = ReceivedTokens::new();
    let peer = |n: u32| SocketAddr::from((n.to_be_bytes(), 1));
    let count = ReceivedTokens::CAPACITY as u32;
    for n in 0..=count {
        store.insert(START, UNIX, peer(n), UNIX.as_secs() + 1000 + n, u64::from(n) + 1);
        store.audit(&mut Audit(&mut |bound| assert!(bound.holds(), "{bound}")));
    }
    assert_eq!(store.len(), ReceivedTokens::CAPACITY);
    assert_eq!(store.take(START, peer(0)), None);
    assert_eq!(store.take(START, peer(1)), NonZeroU64::new(2));
    // Those that are expired go two for one.
    let late = Duration::from_secs(5000);
    for n in 0..count {
        store.insert(START + late, UNIX + late, peer(n), UNIX.as_secs() + 6000, 1);
    }
    assert_eq!(store.len(), ReceivedTokens::CAPACITY);
}
