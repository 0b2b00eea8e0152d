use super::*;
use crate::rng::Seed;
use alloc::{format, vec};

fn hash(n: u32) -> Hash {
    Hash::of(&n.to_be_bytes())
}

fn candidate(n: u32) -> Candidate {
    Candidate {
        hash: hash(n),
        key: PublicKey([n as u8; 32]),
        groups: vec![Group::V4([10, n as u8])],
        v4: true,
        v6: false,
        published_v4: true,
        published_v6: false,
        connected: false,
        weight: 10,
        share: 0,
    }
}

fn request(direction: Direction, length: usize) -> PathRequest<'static> {
    PathRequest {
        direction,
        length,
        local: hash(0),
        local_v4: true,
        local_v6: false,
        local_published: true,
        same_group: false,
        avoid: &[],
    }
}

fn find<'a>(candidates: &'a [Candidate], path: &[Hop]) -> Vec<&'a Candidate> {
    path.iter().map(|h| candidates.iter().find(|c| c.hash == h.hash).unwrap()).collect()
}

/// Whether any path exists, by trying all.
fn exists(request: &PathRequest<'_>, candidates: &[Candidate], chosen: &mut Vec<usize>) -> bool {
    if chosen.len() == request.length {
        let path: Vec<&Candidate> = chosen.iter().map(|i| &candidates[*i]).collect();
        return check(request, &path).is_ok();
    }
    (0..candidates.len()).any(|i| {
        if chosen.contains(&i) {
            return false;
        }
        chosen.push(i);
        let found = exists(request, candidates, chosen);
        chosen.pop();
        found
    })
}

/// The whole matrix of configurations, over random networks: what comes out keeps every rule, and
/// something comes out whenever there is something.
#[test]
fn every_path_keeps_the_rules_and_none_is_missed() {
    let (mut found, mut none) = (0, 0);
    for seed in 0..60u64 {
        let mut rng = Rng::new(&Seed::from_number(seed));
        let size = rng.between(0, 7) as u32;
        let candidates: Vec<Candidate> = (0..size)
            .map(|n| {
                let mut c = candidate(n);
                let mut coin = |percent| rng.below(100) < percent;
                (c.v4, c.v6) = (coin(85), coin(40));
                (c.published_v4, c.published_v6) = (c.v4 && coin(80), c.v6 && coin(60));
                (c.connected, c.weight) = (coin(30), if coin(90) { 10 } else { 0 });
                c.share = if coin(20) { 500 } else { 0 };
                c.groups = vec![Group::V4([10, rng.below(5) as u8])];
                if c.v6 {
                    c.groups.push(Group::V6([0xfd, 0, 0, 0, 0, rng.below(4) as u8]));
                }
                c
            })
            .collect();
        let avoid: Vec<Hash> = (0..size).filter(|_| rng.below(3) == 0).map(hash).collect();
        for direction in [Direction::Inbound, Direction::Outbound] {
            for length in 0..=5 {
                for bits in 0..16 {
                    let request = PathRequest {
                        local_v6: bits & 1 != 0,
                        local_published: bits & 2 != 0,
                        same_group: bits & 4 != 0,
                        avoid: if bits & 8 != 0 { &avoid } else { &[] },
                        ..request(direction, length)
                    };
                    match select(&request, &candidates, &mut rng) {
                        Some(path) => {
                            found += 1;
                            assert_eq!(check(&request, &find(&candidates, &path)), Ok(()));
                            assert_eq!(path.len(), length, "seed {seed}");
                        }
                        None => {
                            none += 1;
                            assert!(
                                !exists(&request, &candidates, &mut Vec::new()),
                                "seed {seed}, {request:?}"
                            );
                        }
                    }
                }
            }
        }
    }
    assert!(found > 1000 && none > 1000, "{found} {none}");
}

/// What [`check`] says, said again and otherwise: a rule that is wrong in there would be in [`select`]
/// too.
fn keeps_the_rules(request: &PathRequest<'_>, path: &[&Candidate]) -> bool {
    let mut hashes: Vec<Hash> = path.iter().map(|c| c.hash).chain([request.local]).collect();
    hashes.sort_unstable();
    hashes.dedup();
    let groups = || path.iter().flat_map(|c| &c.groups);
    let mut distinct: Vec<&Group> = groups().collect();
    distinct.sort_unstable();
    distinct.dedup();
    // From us, or to us, over one family on which the receiver is published.
    let hop = |from: (bool, bool), to: &Candidate| {
        (from.0 && to.published_v4) || (from.1 && to.published_v6)
    };
    let between = path.windows(2).all(|pair| hop((pair[0].v4, pair[0].v6), pair[1]));
    let ours = (request.local_v4, request.local_v6);
    let ends = match (request.direction, path.first(), path.last()) {
        (_, None, _) | (_, _, None) => true,
        (Direction::Outbound, Some(first), Some(last)) => {
            (first.connected || hop(ours, first)) && last.v4
        }
        (Direction::Inbound, Some(first), Some(last)) => {
            let shared = (last.v4 && ours.0) || (last.v6 && ours.1);
            first.published_v4 && (last.connected || (request.local_published && shared))
        }
    };
    path.len() == request.length
        && hashes.len() == path.len() + 1
        && (request.same_group || distinct.len() == groups().count())
        && path.iter().all(|c| c.weight > 0)
        && between
        && ends
}

/// Networks from a handful to hundreds, all lengths, all rules on and off, few and many that are excluded or
/// avoided, several tunnels of a pool one after the other.
#[test]
fn the_whole_matrix_keeps_rules_that_are_said_twice() {
    let (mut found, mut none, mut spared) = (0, 0, 0);
    for seed in 0..24u64 {
        let mut rng = Rng::new(&Seed::from_number(1000 + seed));
        let size = [6, 12, 40, 300][seed as usize % 4];
        let (excluded, subnets) = (rng.below(60), 2 + rng.below(u64::from(size)));
        let candidates: Vec<Candidate> = (0..size)
            .map(|n| {
                let mut c = candidate(n);
                let mut coin = |percent| rng.below(100) < percent;
                (c.v4, c.v6) = (coin(90), coin(30));
                (c.published_v4, c.published_v6) = (c.v4 && coin(80), c.v6 && coin(60));
                (c.connected, c.share) = (coin(30), if coin(10) { 500 } else { 0 });
                c.weight = if coin(excluded) { 0 } else { 1 + rng.below(100) as u32 };
                c.groups = vec![Group::V4([10, rng.below(subnets) as u8])];
                if c.v6 {
                    c.groups.push(Group::V6([0xfd, 0, 0, 0, 0, rng.below(subnets) as u8]));
                }
                c
            })
            .collect();
        let part = 1 + rng.below(4);
        let avoid: Vec<Hash> = (0..size).filter(|_| rng.below(4) < part).map(hash).collect();
        for (length, bits) in (0..=7).flat_map(|length| (0..64).map(move |bits| (length, bits))) {
            let bit = |n: u32| bits & 1 << n != 0;
            let direction = if bit(0) { Direction::Inbound } else { Direction::Outbound };
            let request = PathRequest {
                local_v4: !bit(5) || !bit(1),
                local_v6: bit(1),
                local_published: bit(2),
                same_group: bit(3),
                avoid: if bit(4) { &avoid } else { &[] },
                ..request(direction, length)
            };
            for quantity in 0..2 {
                let Some(path) = select(&request, &candidates, &mut rng) else {
                    none += 1;
                    break;
                };
                found += 1;
                let path = find(&candidates, &path);
                let broken = || format!("seed {seed}, tunnel {quantity}: {request:?}");
                assert!(keeps_the_rules(&request, &path), "{}", broken());
                assert_eq!(check(&request, &path), Ok(()), "{}", broken());
                // Who is to be avoided is used only when there is nothing else.
                if bit(4)
                    && path.iter().any(|c| avoid.contains(&c.hash))
                    && size <= 12
                    && length <= 4
                {
                    spared += 1;
                    let others = candidates.iter().filter(|c| !avoid.contains(&c.hash));
                    let others: Vec<Candidate> = others.cloned().collect();
                    assert!(!exists(&request, &others, &mut Vec::new()), "{}", broken());
                }
            }
        }
    }
    assert!(found > 5000 && none > 1000 && spared > 100, "{found} {none} {spared}");
}

#[test]
fn avoided_routers_come_last_and_never_shorten_a_path() {
    let candidates: Vec<Candidate> = (1..=6).map(candidate).collect();
    let mut rng = Rng::new(&Seed::from_number(1));
    let avoid = [hash(1), hash(2), hash(3)];
    let three = PathRequest { avoid: &avoid, ..request(Direction::Outbound, 3) };
    for _ in 0..50 {
        let path = select(&three, &candidates, &mut rng).unwrap();
        assert!(path.iter().all(|h| !avoid.contains(&h.hash)));
    }
    let four = PathRequest { length: 4, ..three };
    assert_eq!(select(&four, &candidates, &mut rng).unwrap().len(), 4);
}

#[test]
fn weights_and_shares_decide_how_often() {
    let mut candidates: Vec<Candidate> = (1..=10).map(candidate).collect();
    candidates[0].weight = 100;
    candidates[1].share = 400;
    let mut rng = Rng::new(&Seed::from_number(1));
    let mut count = [0; 10];
    for _ in 0..4000 {
        let path = select(&request(Direction::Outbound, 1), &candidates, &mut rng).unwrap();
        count[candidates.iter().position(|c| c.hash == path[0].hash).unwrap()] += 1;
    }
    // 100 of 190 for the heavy one, 10 of 190 for the others, hardly any for the crowded one.
    assert!((1900..2400).contains(&count[0]) && count[1] < 40, "{count:?}");
    assert!(count[2..].iter().all(|n| (140..310).contains(n)), "{count:?}");
}

#[test]
fn a_large_network_is_searched_quickly() {
    let candidates: Vec<Candidate> = (1..6000)
        .map(|n| {
            let mut c = candidate(n);
            c.groups = vec![Group::V4([(n >> 4) as u8, n as u8])];
            c
        })
        .collect();
    let mut rng = Rng::new(&Seed::from_number(1));
    for _ in 0..20 {
        let request = request(Direction::Inbound, 7);
        let path = select(&request, &candidates, &mut rng).unwrap();
        assert_eq!(check(&request, &find(&candidates, &path)), Ok(()));
    }
}

#[test]
fn each_broken_rule_has_its_name() {
    let (a, b) = (candidate(1), candidate(2));
    let check = |r: &PathRequest<'_>, path: &[&Candidate]| super::check(r, path).unwrap_err();
    let two = request(Direction::Inbound, 2);
    assert_eq!(check(&two, &[&a]), Broken::Length);
    assert_eq!(check(&two, &[&a, &a]), Broken::Repeated);
    assert_eq!(check(&two, &[&a, &candidate(0)]), Broken::Repeated);
    let mut same = b.clone();
    same.groups.clone_from(&a.groups);
    assert_eq!(check(&two, &[&a, &same]), Broken::SameGroup);
    let hidden = Candidate { published_v4: false, ..candidate(3) };
    assert_eq!(check(&two, &[&hidden, &a]), Broken::End);
    assert_eq!(check(&two, &[&a, &hidden]), Broken::Unreachable);
    let behind_nat = PathRequest { local_published: false, ..two };
    assert_eq!(check(&behind_nat, &[&a, &b]), Broken::Unreachable);
    let connected = Candidate { connected: true, ..b.clone() };
    assert_eq!(super::check(&behind_nat, &[&a, &connected]), Ok(()));
    assert_eq!(check(&two, &[&a, &Candidate { weight: 0, ..b }]), Broken::Excluded);
}

#[test]
fn groups_are_16_and_48_bits() {
    let group = |s: &str| Group::of(s.parse().unwrap());
    assert_eq!(group("10.1.2.3"), group("10.1.200.3"));
    assert_eq!(group("::ffff:10.1.2.3"), group("10.1.9.9"));
    assert_ne!(group("10.1.2.3"), group("10.2.2.3"));
    assert_eq!(group("fd00:1:2:3::1"), group("fd00:1:2:4::1"));
    assert_ne!(group("fd00:1:2:3::1"), group("fd00:1:3:3::1"));
}
