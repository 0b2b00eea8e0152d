//! Lists of operations for whole machines.

use super::Samples;

/// Operations as `netdb_ops` reads them. Routers are 0 to 11, destinations 0x80 to 0x84.
pub(super) fn netdb_net(s: &mut Samples) {
    let wait = |ms: u16| [&[15][..], &(ms / 2).to_be_bytes()].concat();
    let clock = |secs: i16| [&[0x1e][..], &(secs / 4).to_be_bytes()].concat();
    // In contexts 0 to 3, whole or in halves.
    let store = |ctx: u8, who, version| [ctx << 4, who, version];
    let admit = |ctx: u8, who, version| [ctx << 4 | 1, who, version];
    let (check_first, check_last) = ([2, 0], [2, 1]);
    let look = |ctx: u8, who: u8| [ctx << 4 | 4 | u8::from(who < 0x80), who];
    let (answer, refer, answer_later) = (
        |q, version| [6, q, version, 0],
        |q, from, count| [0x16, q, from, count],
        |q, version| [0x46, q, version, 0],
    );
    let all = |f: &dyn Fn(u8) -> Vec<u8>| (0..8).flat_map(f).collect::<Vec<u8>>();
    let versions = |who: u8| all(&|v| [store(0, who, v), store(1, who, v)].concat());
    s.add("netdb_ops", "routers", [&[3][..], &versions(9), &versions(1)].concat());
    s.add("netdb_ops", "lease-sets", [&[3][..], &versions(0x80), &versions(0x83)].concat());
    let backwards = [4, 3, 2, 1, 0].map(|v| [store(0, 8, v), store(2, 0x81, v)].concat()).concat();
    s.add("netdb_ops", "older", [&[3][..], &backwards].concat());
    let found = [&look(1, 0x82)[..], &answer(0, 1), &look(2, 0x82), &refer(1, 0, 5)].concat();
    s.add("netdb_ops", "found", [&[7][..], &found, &wait(9000), &found, &wait(60_000)].concat());
    let named = [&look(1, 0x82)[..], &[0x16, 0, 4, 7], &[0x16, 1, 5, 7]].concat();
    let fetched = [6, 4, 2, 0, 6, 5, 2, 0, 6, 6, 2, 0, 6, 7, 2, 0, 6, 8, 2, 0];
    let fetched = [&named[..], &fetched, &wait(3000), &look(1, 0x83), &wait(20_000)].concat();
    s.add("netdb_ops", "private-routers", [&[2][..], &fetched].concat());
    let races = [&answer_later(0, 2)[..], &answer_later(0, 4), &check_last, &check_first].concat();
    let races = [&look(1, 5)[..], &races, &look(1, 0x80), &wait(9000)].concat();
    s.add("netdb_ops", "races-private", [&[3][..], &races].concat());
    let races = [&admit(0, 9, 1)[..], &admit(0, 9, 2), &admit(1, 0x80, 4), &admit(1, 0x80, 2)];
    let races = [&races.concat()[..], &check_last, &check_last, &check_first, &check_first];
    s.add("netdb_ops", "races", [&[3][..], &races.concat()].concat());
    let unsent = [&look(0, 0x80)[..], &[0x88, 0, 8, 1, 0x48, 1, 0xc8, 2], &wait(900)].concat();
    s.add("netdb_ops", "unsent", [&[7][..], &unsent.repeat(4), &wait(40_000)].concat());
    let silent = [&look(1, 0x80)[..], &look(0, 0x50), &look(0, 9), &wait(30_000)].concat();
    s.add("netdb_ops", "silence", [&[7][..], &silent.repeat(5)].concat());
    s.add("netdb_ops", "nobody", [&[0][..], &silent, &[12, 0]].concat());
    // Who asks, for what, with which reply tunnel.
    let ask = |op: u8, who, from, tunnel| [op | 9, who, 0, from, tunnel];
    let asks = [0x30, 0x70, 0xb0, 0xf0, 0x20, 0x60]
        .map(|op| [ask(op, 1, 5, 0), ask(op, 0x80, 5, 1), ask(op, 0x7e, 5, 1)].concat())
        .concat();
    s.add("netdb_ops", "asked", [&[7][..], &store(1, 0x80, 2), &asks].concat());
    let publish =
        all(&|v| [[0x59, 0x80, v, 5, 0], [0x49, 0x81, v, 5, 1], [0x59, 9, v, 9, 0]].concat());
    s.add("netdb_ops", "floodfill", [&[15][..], &publish, &asks].concat());
    s.add("netdb_ops", "no-floodfill", [&[7][..], &publish, &asks].concat());
    s.add("netdb_ops", "demoted", [&[15][..], &publish, &[11, 0x40 + 2], &asks].concat());
    let ours = [10, 0, 0x1a, 0x40, 0x2a, 0x41, 0x4a, 0, 0x5a, 0, 0x5a, 1, 0x6a, 0];
    let ours = [&ours[..], &wait(12_000), &[0x9a, 0, 0x9a, 0x80, 0xda, 0], &wait(40_000), &ours];
    s.add(
        "netdb_ops",
        "published",
        [&[7][..], &ours.concat(), &wait(60_000), &[0xda, 0x80]].concat(),
    );
    let steps = [&versions(0x80)[..], &clock(4000), &versions(9), &clock(-4000), &versions(9)];
    s.add(
        "netdb_ops",
        "clock",
        [&[3][..], &steps.concat(), &clock(-30_000), &versions(0x80)].concat(),
    );
    let crowd = [11, 0x5f, 0, 11, 0x5f, 31, 11, 0x5f, 62, 11, 0x5f, 93];
    let long = [&clock(32_000)[..], &wait(65_000)].concat().repeat(4);
    s.add("netdb_ops", "crowd", [&[7][..], &crowd, &silent, &long, &[0x2f, 255, 255]].concat());
    s.add(
        "netdb_ops",
        "many-lookups",
        [&[3, 0x1b, 0x70, 99, 0x2b, 0x70, 99][..], &wait(20_000)].concat(),
    );
    let rare: Vec<u8> = (0..16).flat_map(|n| [11, n << 4 | 5, n, 0x1b, n << 4 | 5, n]).collect();
    s.add("netdb_ops", "rare", [&[15][..], &versions(0x80), &rare, &found, &rare].concat());
    let good = (0..6).flat_map(|n| [0x1d, n, 0x8d, n]).collect::<Vec<u8>>();
    s.add("netdb_ops", "reports", [&[7][..], &versions(8), &good, &found, &wait(40_000)].concat());
}

/// Operations as `tunnel_endpoint_ops` reads them: cut a message up, send fragments, wait.
pub(super) fn tunnel_ends(s: &mut Samples) {
    let cut = |op: u8, len: u16, size: u8| [&[op][..], &len.to_be_bytes(), &[size, 1]].concat();
    let wait = |ms: u16| [&[14][..], &ms.to_be_bytes()].concat();
    let all = [0xf3, 13];
    let three = |len, size| [0u8, 0x10, 0x60].map(|op| cut(op, len, size)).concat();
    s.add("tunnel_endpoint_ops", "whole", [&three(100, 255)[..], &all].concat());
    s.add("tunnel_endpoint_ops", "fragments", [&three(5000, 60)[..], &all.repeat(2)].concat());
    let largest = [&three(59_000, 235)[..], &all.repeat(14)].concat();
    s.add("tunnel_endpoint_ops", "largest", largest);
    let backwards: Vec<u8> = (0..30).rev().flat_map(|n| [5, n]).collect();
    s.add("tunnel_endpoint_ops", "backwards", [&three(3000, 70)[..], &backwards, &all].concat());
    let mixed: Vec<u8> = (0..40u8).flat_map(|n| [0x16, n.wrapping_mul(89)]).collect();
    s.add("tunnel_endpoint_ops", "mixed", [&three(9000, 40)[..], &mixed, &all].concat());
    let twice: Vec<u8> = (0..20).flat_map(|n| [7, n, 8, n, 13]).collect();
    s.add("tunnel_endpoint_ops", "doubled", [&three(3000, 99)[..], &twice, &all].concat());
    let late = [&three(2000, 99)[..], &[5, 1, 5, 3], &wait(20_001), &all, &wait(9)].concat();
    s.add("tunnel_endpoint_ops", "late", late);
    let idle = [&wait(65_000)[..], &three(2000, 99), &all].concat();
    s.add("tunnel_endpoint_ops", "idle", idle);
    let lost = [&three(3000, 99)[..], &[0x2c, 4], &all, &wait(30_000), &three(50, 9), &all];
    s.add("tunnel_endpoint_ops", "lost", lost.concat());
    let damaged: Vec<u8> = (0..24).flat_map(|n| [5, 0, 9, n, n, 77, 13]).collect();
    s.add("tunnel_endpoint_ops", "damaged", [&three(4000, 90)[..], &damaged, &all].concat());
    let forged =
        |op: u8, id, number, len: u16| [&[op, id, number][..], &len.to_be_bytes(), &[3]].concat();
    let ends = [(1, 3), (1, 0x44), (1, 0x42), (2, 0), (2, 0x41), (3, 0x45), (3, 6), (4, 0x80)];
    let ends: Vec<u8> = ends.iter().flat_map(|(id, n)| forged(0x1a, *id, *n, 700)).collect();
    s.add("tunnel_endpoint_ops", "contradictions", [&ends[..], &all].concat());
    let flood: Vec<u8> = (0..16).flat_map(|n| forged(0x8a | n << 4 & 0x10, n * 16, 1, 1)).collect();
    s.add("tunnel_endpoint_ops", "many-messages", flood);
    let heavy: Vec<u8> = (0..66u8).flat_map(|n| cut(0x10 | n << 5 & 0x40, 8000, 200)).collect();
    let heavy = [&heavy[..], &[0x3c, 0].repeat(20), &[0xf4, 13].repeat(16)].concat();
    s.add("tunnel_endpoint_ops", "many-bytes", heavy);
    let same = [0x90, 0x90, 0xa0].map(|op| cut(op, 2000, 99)).concat();
    s.add("tunnel_endpoint_ops", "same-number", [&same[..], &mixed, &all].concat());
}

/// Operations as `ntcp2_peer` reads them: queue, write and deliver, wait.
pub(super) fn ntcp2_pairs(s: &mut Samples) {
    let hello: Vec<u8> = [3, 0x83].repeat(2);
    let queue = |op: u8, len: u16| [&[op][..], &len.to_be_bytes()].concat();
    let wait = |ms: u16| [&[12][..], &ms.to_be_bytes()].concat();
    let both = |len| [0, 0xa0, 0x40, 0xe0, 0x60, 0x80].map(|op| queue(op, len)).concat();
    let talk = [&both(40)[..], &both(1028), &both(9000), &hello].concat();
    s.add("ntcp2_peer", "whole", [&[0, 0][..], &hello, &talk, &talk].concat());
    s.add("ntcp2_peer", "early", [&[0, 0][..], &talk, &hello, &talk].concat());
    let pieces: Vec<u8> = [7, 5, 0x87, 6].repeat(40);
    s.add("ntcp2_peer", "pieces", [&[1, 0][..], &both(100), &pieces, &talk].concat());
    let glued = [&talk[..12], &[5, 1, 0, 0x85, 9, 9]].concat().repeat(5);
    s.add("ntcp2_peer", "glued", [&[1, 0][..], &hello, &glued, &talk].concat());
    let sizes = [0, 1, 3, 16_000, 17_000, 61 * 1024, 61 * 1024 + 1].map(|n| queue(0x40, n));
    s.add("ntcp2_peer", "sizes", [&[2, 0][..], &hello, &sizes.concat(), &[3], &talk].concat());
    let many = [0x12, 30, 250, 0x32, 2, 90, 2, 9, 9, 5, 8, 0, 0x42, 30, 250, 0x22, 30, 250];
    s.add("ntcp2_peer", "many", [&[3, 0][..], &hello, &many, &hello, &talk].concat());
    s.add("ntcp2_peer", "many-early", [&[3, 0][..], &many, &hello, &talk].concat());
    s.add("ntcp2_peer", "full", [&[4, 0][..], &queue(0x20, 60_000).repeat(12), &talk].concat());
    for (name, harm) in
        [("flip", &[8, 0, 70, 4][..]), ("more", &[9, 0, 70, 2, 7, 7]), ("less", &[10, 0, 70, 2])]
    {
        let data = [&hello[..], &both(500), &[5, 9, 0], harm, &[6, 255, 255], &talk];
        s.add("ntcp2_peer", name, [&[5, 0][..], &data.concat()].concat());
        for (n, at) in [5, 40, 63, 66].into_iter().enumerate() {
            let harm = [&harm[..2], &[at], &harm[3..]].concat();
            let first = [&[5, 255, 0][..], &harm, &[6, 255, 0], &hello, &hello].concat();
            let second = [&[3, 0x85, 255, 0, 0x80 | harm[0]][..], &harm[1..], &[0x86, 255, 0]];
            let third = [&[3, 0x83, 5, 255, 0][..], &harm, &[6, 255, 0], &talk].concat();
            let which = [first, [&second.concat()[..], &talk].concat(), third][n % 3].clone();
            s.add("ntcp2_peer", format!("{name}-{at}"), [&[6, 0][..], &which].concat());
        }
    }
    let long = [&hello[..], &queue(0, 60_000).repeat(6), &[5, 255, 255, 8, 0, 0, 64], &[3; 8]];
    s.add("ntcp2_peer", "flip-length", [&[5, 0][..], &long.concat()].concat());
    for ahead in [50, 61, 100, 0u8.wrapping_sub(50), 0u8.wrapping_sub(62)] {
        s.add("ntcp2_peer", format!("ahead-{ahead}"), [&[7, ahead][..], &hello, &talk].concat());
    }
    let infos = [&[0x1b][..], &both(30), &[0x8b, 0x0b], &hello].concat();
    s.add("ntcp2_peer", "router-infos", [&[8, 0][..], &hello, &infos, &infos].concat());
    let stalled = [&both(30)[..], &wait(29_000), &[0x3b], &wait(29_000), &[3], &wait(31_000)];
    s.add("ntcp2_peer", "stalled", [&[9, 0][..], &hello, &stalled.concat()].concat());
    let old = [&both(30)[..], &wait(3000), &both(31), &wait(2000), &talk, &wait(9000), &talk];
    s.add("ntcp2_peer", "old", [&[9, 0][..], &hello, &old.concat()].concat());
    s.add(
        "ntcp2_peer",
        "idle",
        [&[9, 0][..], &hello, &wait(65_000), &wait(65_000), &talk].concat(),
    );
    s.add("ntcp2_peer", "slow", [&[9, 0, 3][..], &wait(10_001), &hello].concat());
    s.add("ntcp2_peer", "closed", [&[9, 0][..], &hello, &both(9), &[0x5b, 3], &talk].concat());
    s.add("ntcp2_peer", "gone", [&[9, 0][..], &hello, &both(9), &[0xfb], &talk, &talk].concat());
}

/// Operations as `ssu2_endpoint_ops` reads them, of hosts 0 to 2.
pub(super) fn ssu2_net(s: &mut Samples) {
    let target = "ssu2_endpoint_ops";
    let wait = |ms: u16| [&[9][..], &ms.to_be_bytes()].concat();
    let run = |ms: u16| [&[10][..], &ms.to_be_bytes()].concat();
    let connect = |from: u8, to: u8| vec![from << 4, to];
    let queue = |from: u8, len: u16| [&[from << 4 | 1, 0][..], &len.to_be_bytes(), &[0]].concat();
    let (all, one, lose, again) = ([2], [3, 0], [4, 0], [5, 0]);
    let harm = |at: u16| [&[7, 0][..], &at.to_be_bytes(), &[4]].concat();
    let hello = [connect(0, 1), all.repeat(1), run(400)].concat();
    let talk = [queue(0, 900), queue(1, 3000), run(1500)].concat();
    s.add(target, "hello", [&[0][..], &hello, &talk].concat());
    s.add(target, "strict", [&[7][..], &hello, &talk, &connect(2, 1), &run(2000)].concat());
    let both = [connect(0, 1), connect(1, 0), queue(0, 100), queue(1, 100), run(3000)].concat();
    s.add(target, "both", [&[1][..], &both, &talk].concat());
    let large = [connect(2, 0), queue(2, 20_000), run(2000), connect(1, 2), run(2000)].concat();
    s.add(target, "two-confirmed", [&[0][..], &large, &queue(0, 30_000), &run(4000)].concat());
    let lossy = |n| [&lose[..], &wait(1300), &one.repeat(n)].concat();
    let lost = [connect(0, 1), lossy(1), lossy(2), lossy(3), run(3000)].concat();
    s.add(target, "lost-handshake", [&[3][..], &lost, &talk].concat());
    let bursts = [queue(0, 9000), lossy(3), lossy(5), run(2500)].concat();
    s.add(target, "lost", [&[3][..], &hello, &bursts.repeat(4)].concat());
    let twice = [queue(0, 5000), again.repeat(4), vec![6, 0, 3, 6, 1, 2], run(900)].concat();
    s.add(
        target,
        "twice-and-swapped",
        [&[4][..], &connect(0, 1), &again, &run(400), &twice.repeat(4)].concat(),
    );
    for at in [0, 9, 17, 40, 70] {
        let step = [&again[..], &harm(at), &one].concat();
        let name = format!("harmed-{at}");
        s.add(
            target,
            name,
            [&[5][..], &connect(0, 1), &step.repeat(5), &run(2000), &talk].concat(),
        );
    }
    let move_to = |host: u8, port: u8| [host << 4 | 12, port];
    let moved = [&move_to(0, 3)[..], &talk, &move_to(1, 5), &talk, &run(9000), &talk].concat();
    s.add(target, "moved", [&[0][..], &hello, &moved].concat());
    let elsewhere = [&again[..], &[8, 0, 3], &one, &[8, 0, 2], &one, &[8, 0, 0x82]].concat();
    let elsewhere = [queue(0, 3000), elsewhere, queue(1, 50), run(4000)].concat();
    s.add(target, "elsewhere", [&[0][..], &connect(0, 1), &elsewhere, &elsewhere].concat());
    let close = |host: u8, reason: u8| [host << 4 | 11, 0, reason];
    let closed = [&talk[..], &queue(0, 9), &close(0, 0), &queue(1, 9), &run(5000), &hello].concat();
    s.add(target, "closed", [&[0][..], &hello, &closed, &close(1, 17), &talk].concat());
    let early = [&connect(0, 1)[..], &close(0, 2), &hello, &close(1, 3), &run(9000), &hello];
    s.add(target, "closed-early", [&[0][..], &early.concat()].concat());
    let idle = [run(65_000), run(65_000), talk.clone()].concat();
    s.add(target, "idle", [&[0][..], &hello, &idle, &hello, &talk].concat());
    let silent = [queue(0, 900), wait(65_000), lose.repeat(20), wait(65_000)].concat();
    s.add(target, "silent", [&[0][..], &hello, &silent, &hello, &talk].concat());
    let noise =
        [&[13, 1, 60][..], &[0x33; 60], &[13, 4, 90], &[0x55; 90], &[14, 0, 0, 50]].concat();
    s.add(target, "noise", [&[0][..], &connect(0, 1), &noise, &run(3000), &noise, &talk].concat());
    let infos = [15, 0, 0, 15, 0, 1, 0x1f, 0, 2];
    s.add(target, "router-infos", [&[0][..], &hello, &infos, &run(900), &infos, &talk].concat());
}
