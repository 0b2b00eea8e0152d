//! The proxy's machine against the server tunnel's, with a browser on one side and a web server on
//! the other: whatever the cuts, the order of events and the windows, bodies arrive as they were.

use super::http_proxy::{HttpProxy, Shared};
use super::http_server::HttpServer;
use super::testing::identity;
use super::{Connection, Request, Slot, StreamInput};
use crate::rng::{Rng, Seed};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    Length,
    /// Chunks of at most so many bytes.
    Chunks(usize),
    UntilClose,
}

/// A request and its answer.
struct Exchange {
    request: (Frame, Vec<u8>),
    answer: (Frame, Vec<u8>),
    /// The site answers when it has read the head.
    early: bool,
}

/// Bytes on their way between two, at most `window` of them.
#[derive(Default)]
struct Wire {
    bytes: VecDeque<u8>,
    window: usize,
    finished: bool,
    told: bool,
    paused: bool,
    reset: bool,
}

impl Wire {
    fn new(window: usize) -> Self {
        Self { window, ..Self::default() }
    }

    fn room(&self) -> usize {
        self.window.saturating_sub(self.bytes.len())
    }

    fn part(&self, n: usize) -> Vec<u8> {
        self.bytes.iter().take(n).copied().collect()
    }
}

/// One I2P stream, with the server tunnel's machine and the web server's connection behind it.
struct Link {
    slot: Slot,
    server: Connection,
    opened: bool,
    up: Wire,
    down: Wire,
    connecting: bool,
    connected: bool,
    site_in: Vec<u8>,
    site_out: VecDeque<u8>,
    site_paused: bool,
    site_closes: bool,
    site_told: bool,
    answered: bool,
    local_closed: bool,
}

struct Pair<'a> {
    now: Instant,
    rng: Rng,
    plan: &'a [Exchange],
    /// Requests that arrived whole.
    arrived: Vec<Vec<u8>>,
    proxy: Connection,
    browser_out: VecDeque<u8>,
    browser_paused: bool,
    browser_in: Vec<u8>,
    browser_closed: Option<bool>,
    links: Vec<Link>,
    window: usize,
    cut: usize,
    /// The first piece of each kind has this size.
    first: Option<usize>,
}

fn bytes(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    rng.fill(&mut out);
    // Plenty of what looks like framing.
    for chunk in out.chunks_mut(97) {
        if let Some(at) = chunk.first_chunk_mut::<4>() {
            *at = *b"\r\n\r\n";
        }
    }
    out
}

fn framed(frame: Frame, start: &str, body: &[u8]) -> Vec<u8> {
    let mut out = start.as_bytes().to_vec();
    match frame {
        Frame::Length => {
            out.extend(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            out.extend(body);
        }
        Frame::Chunks(size) => {
            out.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(size) {
                out.extend(format!("{:X};x=y\r\n", chunk.len()).as_bytes());
                out.extend(chunk);
                out.extend(b"\r\n");
            }
            out.extend(b"0\r\nTrailer: z\r\n\r\n");
        }
        Frame::UntilClose => {
            out.extend(b"Connection: close\r\n\r\n");
            out.extend(body);
        }
    }
    out
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

/// The first message of `bytes` if it is whole: its body and its length.
fn message(bytes: &[u8], ended: bool) -> Option<(Vec<u8>, usize)> {
    let head_end = find(&bytes[..bytes.len().min(8192)], b"\r\n\r\n")? + 4;
    let head = core::str::from_utf8(&bytes[..head_end]).expect("a head").to_ascii_lowercase();
    let rest = &bytes[head_end..];
    if let Some((_, after)) = head.split_once("content-length: ") {
        let digits = after.split('\r').next().unwrap();
        let length: usize = digits.parse().unwrap();
        return rest.get(..length).map(|body| (body.to_vec(), head_end + length));
    }
    if head.contains("transfer-encoding: chunked") {
        if !bytes.ends_with(b"0\r\n\r\n") && !ended {
            return None;
        }
        let (mut body, mut at) = (Vec::new(), 0);
        loop {
            let line = find(rest.get(at..)?.get(..20.min(rest.len() - at))?, b"\r\n")?;
            let size = core::str::from_utf8(&rest[at..at + line]).unwrap();
            let size = usize::from_str_radix(size, 16).expect("a chunk's size");
            at += line + 2;
            body.extend(rest.get(at..at + size)?);
            assert_eq!(rest.get(at + size..at + size + 2)?, b"\r\n");
            at += size + 2;
            if size == 0 {
                return Some((body, head_end + at));
            }
        }
    }
    if head.starts_with("http/") {
        return ended.then(|| (rest.to_vec(), bytes.len()));
    }
    Some((Vec::new(), head_end))
}

impl<'a> Pair<'a> {
    fn new(seed: u64, plan: &'a [Exchange], window: usize, cut: usize) -> Self {
        let mut rng = Rng::new(&Seed::from_number(seed));
        let shared = Arc::new(Shared::new(&mut rng));
        let mut browser_out = VecDeque::new();
        for (i, exchange) in plan.iter().enumerate() {
            let (frame, body) = &exchange.request;
            let start = format!("POST http://a.i2p/{i} HTTP/1.1\r\nHost: a.i2p\r\n");
            browser_out.extend(framed(*frame, &start, body));
        }
        Self {
            now: Instant::ZERO,
            rng,
            plan,
            arrived: Vec::new(),
            proxy: Connection::HttpProxy(Box::new(HttpProxy::new(Instant::ZERO, shared))),
            browser_out,
            browser_paused: false,
            browser_in: Vec::new(),
            browser_closed: None,
            links: Vec::new(),
            window,
            cut,
            first: None,
        }
    }

    /// The size of the next piece.
    fn piece(&mut self) -> usize {
        match self.first {
            Some(n) => n.max(1),
            None => self.rng.between(1, self.cut as u64) as usize,
        }
    }

    fn proxy_requests(&mut self) {
        while let Some(request) = self.proxy.poll_request() {
            match request {
                Request::Open { slot, .. } => {
                    let host = Arc::from("own.b32.i2p");
                    let server = HttpServer::new(self.now, &identity(7), host);
                    self.links.push(Link {
                        slot,
                        server: Connection::HttpServer(Box::new(server)),
                        opened: false,
                        up: Wire::new(self.window),
                        down: Wire::new(self.window),
                        connecting: false,
                        connected: false,
                        site_in: Vec::new(),
                        site_out: VecDeque::new(),
                        site_paused: false,
                        site_closes: false,
                        site_told: false,
                        answered: false,
                        local_closed: false,
                    });
                }
                Request::FinishStream { slot } | Request::CloseStream { slot } => {
                    self.link(slot).up.finished = true;
                }
                Request::ResetStream { slot } => self.link(slot).up.reset = true,
                Request::ReadStream { slot } => self.link(slot).down.paused = false,
                Request::ReadLocal => self.browser_paused = false,
                Request::FinishLocal => {}
                Request::CloseLocal { abort } => self.browser_closed = Some(abort),
                Request::ConnectLocal | Request::FindName { .. } | Request::LearnName { .. } => {
                    panic!("{request:?}")
                }
            }
        }
    }

    fn link(&mut self, slot: Slot) -> &mut Link {
        self.links.iter_mut().find(|l| l.slot == slot).expect("a stream")
    }

    /// Something happens, chosen by chance; false when that could do nothing.
    fn step(&mut self, which: u64, link: usize) -> bool {
        let n = self.piece();
        let now = self.now;
        let mut out = Vec::new();
        match which {
            // The browser writes.
            0 => {
                if self.browser_paused || self.browser_closed.is_some() {
                    return false;
                }
                let part: Vec<u8> = self.browser_out.iter().take(n).copied().collect();
                if part.is_empty() {
                    return false;
                }
                let consumed = self.proxy.handle_local(now, &part);
                assert!(consumed.pause || consumed.taken == part.len());
                self.browser_out.drain(..consumed.taken);
                self.browser_paused = consumed.pause;
            }
            // The browser reads.
            1 => {
                if self.proxy.poll_local(now, n, &mut out) == 0 {
                    return false;
                }
                self.browser_in.extend(&out);
            }
            _ => {
                if link >= self.links.len() {
                    return false;
                }
                let moved = self.step_link(which, link, n);
                self.proxy_requests();
                self.server_requests(link);
                return moved;
            }
        }
        self.proxy_requests();
        true
    }

    fn step_link(&mut self, which: u64, link: usize, n: usize) -> bool {
        let now = self.now;
        let mut out = Vec::new();
        let link = &mut self.links[link];
        match which {
            // The proxy writes to the stream, also before it is open.
            2 => {
                let room = link.up.room().min(n);
                if room == 0 || self.proxy.poll_stream(now, link.slot, room, &mut out) == 0 {
                    return false;
                }
                link.up.bytes.extend(&out);
            }
            // What is on the stream reaches the server tunnel.
            3 => {
                if link.up.paused {
                    return false;
                }
                let part = link.up.part(n);
                let part = &part[..part.len().min(link.server.stream_room(Slot::INCOMING))];
                if part.is_empty() {
                    if !link.up.bytes.is_empty() {
                        link.up.paused = true;
                        return true;
                    }
                    if link.up.finished && !core::mem::replace(&mut link.up.told, true) {
                        link.server.handle_stream(now, Slot::INCOMING, StreamInput::RemoteClosed);
                        return true;
                    }
                    return false;
                }
                let input = StreamInput::Data(part);
                let taken = link.server.handle_stream(now, Slot::INCOMING, input);
                link.up.paused = taken < part.len();
                link.up.bytes.drain(..taken);
            }
            // The server tunnel answers.
            4 => {
                let room = link.down.room().min(n);
                let slot = Slot::INCOMING;
                if room == 0 || link.server.poll_stream(now, slot, room, &mut out) == 0 {
                    return false;
                }
                link.down.bytes.extend(&out);
            }
            // What is on the stream reaches the proxy.
            5 => {
                if !core::mem::replace(&mut link.opened, true) {
                    self.proxy.handle_stream(now, link.slot, StreamInput::Opened);
                    return true;
                }
                if link.down.paused {
                    return false;
                }
                let part = link.down.part(n);
                let part = &part[..part.len().min(self.proxy.stream_room(link.slot))];
                if part.is_empty() {
                    if !link.down.bytes.is_empty() {
                        // A stream that the proxy is done with takes nothing.
                        if link.up.finished {
                            link.down.bytes.clear();
                        }
                        link.down.paused = true;
                        return true;
                    }
                    if link.down.finished && !core::mem::replace(&mut link.down.told, true) {
                        self.proxy.handle_stream(now, link.slot, StreamInput::RemoteClosed);
                        return true;
                    }
                    return false;
                }
                let taken = self.proxy.handle_stream(now, link.slot, StreamInput::Data(part));
                link.down.paused = taken < part.len();
                link.down.bytes.drain(..taken);
            }
            // The web server accepts, then reads.
            6 => {
                if link.connecting && !core::mem::replace(&mut link.connected, true) {
                    link.server.handle_local_connected(now);
                    return true;
                }
                if link.server.poll_local(now, n, &mut out) == 0 {
                    return false;
                }
                link.site_in.extend(&out);
                self.serve(&out);
            }
            // The web server writes.
            _ => {
                if link.site_paused || !link.connected || link.local_closed {
                    return false;
                }
                let part: Vec<u8> = link.site_out.iter().take(n).copied().collect();
                if part.is_empty() {
                    if link.site_closes && !core::mem::replace(&mut link.site_told, true) {
                        link.server.handle_local_closed(now);
                        return true;
                    }
                    return false;
                }
                let consumed = link.server.handle_local(now, &part);
                link.site_out.drain(..consumed.taken);
                link.site_paused = consumed.pause;
            }
        }
        true
    }

    /// What the web server does with what it has read.
    fn serve(&mut self, _new: &[u8]) {
        let Some(link) = self.links.iter_mut().rev().find(|l| !l.site_in.is_empty()) else {
            return;
        };
        let Some(exchange) = self.plan.get(self.arrived.len()) else { return };
        let head = find(&link.site_in[..link.site_in.len().min(8192)], b"\r\n\r\n").is_some();
        let whole = message(&link.site_in, false);
        let answer = |link: &mut Link| {
            let (frame, body) = &exchange.answer;
            link.site_out.extend(framed(*frame, "HTTP/1.1 200 OK\r\nX: y\r\n", body));
            link.site_closes = *frame == Frame::UntilClose;
        };
        if head && exchange.early && !core::mem::replace(&mut link.answered, true) {
            answer(link);
        }
        if let Some((body, used)) = whole {
            link.site_in.drain(..used);
            self.arrived.push(body);
            if !core::mem::take(&mut link.answered) {
                answer(link);
            }
        }
    }

    fn server_requests(&mut self, link: usize) {
        let link = &mut self.links[link];
        while let Some(request) = link.server.poll_request() {
            match request {
                Request::ConnectLocal => link.connecting = true,
                Request::ReadStream { .. } => link.up.paused = false,
                Request::ReadLocal => link.site_paused = false,
                Request::FinishLocal => {}
                Request::CloseLocal { .. } => link.local_closed = true,
                Request::FinishStream { .. } | Request::CloseStream { .. } => {
                    link.down.finished = true;
                }
                Request::ResetStream { .. } => link.down.reset = true,
                Request::Open { .. } | Request::FindName { .. } | Request::LearnName { .. } => {
                    panic!("{request:?}")
                }
            }
        }
    }

    /// Runs until nothing moves; then everything has to be as it was sent.
    #[track_caller]
    fn check(&mut self, what: &str) {
        let mut idle = 0;
        while idle < 200 {
            let which = self.rng.below(8);
            let link = self.rng.below(self.links.len().max(1) as u64) as usize;
            // Often the newest: the others are over.
            let link = if self.rng.below(4) > 0 { self.links.len().max(1) - 1 } else { link };
            idle = if self.step(which, link) { 0 } else { idle + 1 };
        }
        assert_eq!(self.arrived.len(), self.plan.len(), "{what}: requests");
        let ended = self.browser_closed.is_some();
        let mut rest = self.browser_in.as_slice();
        for (i, exchange) in self.plan.iter().enumerate() {
            assert!(self.arrived[i] == exchange.request.1, "{what}: the body of request {i}");
            let text = alloc::string::String::from_utf8_lossy(&rest[..rest.len().min(200)]);
            assert!(rest.starts_with(b"HTTP/1.1 200 OK\r\n"), "{what}: answer {i}: {text}");
            let last = ended || i + 1 < self.plan.len();
            let Some((body, used)) = message(rest, last) else {
                panic!("{what}: answer {i} is cut at {}", rest.len())
            };
            assert!(body == exchange.answer.1, "{what}: the body of answer {i}");
            rest = &rest[used..];
        }
        assert!(rest.is_empty(), "{what}: {} bytes more", rest.len());
        assert!(self.links.iter().all(|l| !l.up.reset && !l.down.reset), "{what}: reset");
        assert_ne!(self.browser_closed, Some(true), "{what}: aborted");
    }
}

fn frame(rng: &mut Rng) -> Frame {
    match rng.below(2) {
        0 => Frame::Length,
        _ => Frame::Chunks(rng.between(1, 40_000) as usize),
    }
}

#[test]
fn every_cut_of_every_message_gives_the_same() {
    let mut rng = Rng::new(&Seed::from_number(1));
    let exchange = |rng: &mut Rng, request, answer| Exchange {
        request: (request, bytes(rng, 40)),
        answer: (answer, bytes(rng, 40)),
        early: false,
    };
    let plan = [
        exchange(&mut rng, Frame::Length, Frame::Chunks(7)),
        exchange(&mut rng, Frame::Chunks(9), Frame::Length),
        exchange(&mut rng, Frame::Chunks(40), Frame::UntilClose),
    ];
    for first in 1..700 {
        let mut pair = Pair::new(first, &plan, usize::MAX, usize::MAX);
        pair.first = Some(first as usize);
        pair.check(&format!("cut {first}"));
        // And the window decides about the pieces.
        let mut pair = Pair::new(first, &plan, first as usize, usize::MAX);
        pair.first = Some(usize::MAX);
        pair.check(&format!("window {first}"));
    }
}

#[test]
fn small_exchanges_in_any_order_of_events_give_the_same() {
    for seed in 0..600 {
        let mut rng = Rng::new(&Seed::from_number(seed));
        let count = rng.between(1, 4);
        let mut plan = Vec::new();
        for i in 0..count {
            let last = i + 1 == count;
            let (up, down) = (rng.below(3000) as usize, rng.below(3000) as usize);
            let until_close = last && rng.below(3) == 0;
            let answer = if until_close { Frame::UntilClose } else { frame(&mut rng) };
            plan.push(Exchange {
                request: (frame(&mut rng), bytes(&mut rng, up)),
                answer: (answer, bytes(&mut rng, down)),
                early: last && answer == Frame::Length && rng.below(3) == 0,
            });
        }
        let (window, cut) = (rng.between(1, 4000) as usize, rng.between(1, 1500) as usize);
        Pair::new(seed, &plan, window, cut).check(&format!("seed {seed}"));
    }
}

#[test]
fn a_megabyte_each_way_arrives_as_it_was() {
    for seed in 0..12 {
        let mut rng = Rng::new(&Seed::from_number(seed));
        let (request, answer) = (frame(&mut rng), frame(&mut rng));
        let plan = [Exchange {
            request: (request, bytes(&mut rng, 1 << 20)),
            answer: (answer, bytes(&mut rng, 1 << 20)),
            early: seed % 3 == 0,
        }];
        let window = rng.between(1000, 300_000) as usize;
        let cut = rng.between(500, 70_000) as usize;
        let what = format!("seed {seed}: {request:?}, {answer:?}, window {window}, cut {cut}");
        Pair::new(seed, &plan, window, cut).check(&what);
    }
}
