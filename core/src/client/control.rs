//! The owner's local socket: one line asks, one JSON document answers.
//!
//! `info` gives the state of the router. Everything else is answered by a document with `error`.

use super::Consumed;
use super::json::Json;
use crate::time::Instant;
use crate::wire::base64;
use crate::wire::hash::Hash;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

/// The version of the documents: grows when a key changes its meaning or goes away.
pub const VERSION: u64 = 1;
/// Longest request line.
pub const MAX_LINE: usize = 256;
/// A whole connection has to be over within this time.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// One connection to the control socket.
///
/// After each `handle_*`: `poll_request` until `None`, then `poll_local`, `poll_request` once more,
/// `poll_timeout`.
#[derive(Debug)]
pub struct Control {
    line: Vec<u8>,
    out: Vec<u8>,
    sent: usize,
    state: State,
    deadline: Instant,
}

/// What a control connection wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlRequest {
    /// Call [`Control::handle_info`] with the state of the router.
    Info,
    /// Close the connection after what `poll_local` gave, and drop the machine.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    /// The request is known but was not polled.
    Asked,
    Waiting,
    Answering,
    Closed,
}

impl Control {
    /// For a connection that was just accepted.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            line: Vec::new(),
            out: Vec::new(),
            sent: 0,
            state: State::Reading,
            deadline: now + TIMEOUT,
        }
    }

    /// Bytes from the owner. All are taken.
    pub fn handle_local(&mut self, bytes: &[u8]) -> Consumed {
        if self.state == State::Reading {
            let line = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
            let room = MAX_LINE.saturating_sub(self.line.len());
            if line.len() > room {
                self.answer_error("the request is too long");
            } else {
                self.line.extend_from_slice(line);
                if line.len() < bytes.len() {
                    self.handle_line();
                }
            }
        }
        Consumed { taken: bytes.len(), pause: false }
    }

    /// The owner finished sending: a request without line end counts too.
    pub fn handle_local_closed(&mut self) {
        if self.state == State::Reading {
            if self.line.is_empty() {
                self.state = State::Answering;
            } else {
                self.handle_line();
            }
        }
    }

    /// The answer to [`ControlRequest::Info`].
    pub fn handle_info(&mut self, report: &InfoReport) {
        if self.state == State::Waiting {
            self.answer(report.to_json());
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.deadline && self.state != State::Closed {
            self.out.clear();
            self.sent = 0;
            self.state = State::Answering;
        }
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll_request(&mut self) -> Option<ControlRequest> {
        match self.state {
            State::Asked => {
                self.state = State::Waiting;
                Some(ControlRequest::Info)
            }
            State::Answering if self.sent >= self.out.len() => {
                self.state = State::Closed;
                Some(ControlRequest::Close)
            }
            State::Reading | State::Waiting | State::Answering | State::Closed => None,
        }
    }

    /// Appends at most `room` bytes for the owner and says how many.
    pub fn poll_local(&mut self, room: usize, out: &mut Vec<u8>) -> usize {
        let rest = self.out.get(self.sent..).unwrap_or_default();
        let part = rest.get(..room).unwrap_or(rest);
        out.extend_from_slice(part);
        self.sent += part.len();
        part.len()
    }

    /// True when [`Self::poll_local`] has something.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.state == State::Answering && self.sent < self.out.len()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.state != State::Closed).then_some(self.deadline)
    }

    fn handle_line(&mut self) {
        if self.line.trim_ascii() == b"info" {
            self.state = State::Asked;
        } else {
            self.answer_error("unknown request; known: info");
        }
    }

    fn answer_error(&mut self, error: &str) {
        let mut json = Json::default();
        json.object(|j| {
            j.key("version").number(VERSION);
            j.key("error").string(error);
        });
        self.answer(json.finish());
    }

    fn answer(&mut self, document: String) {
        self.out = document.into_bytes();
        self.out.push(b'\n');
        self.sent = 0;
        self.state = State::Answering;
    }
}

/// The state of a router, as plain numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InfoReport {
    /// The program's version.
    pub program: String,
    /// Since the start.
    pub uptime: Duration,
    /// The router's hash.
    pub hash: Hash,
    /// The network id.
    pub network: u8,
    /// Our published capabilities.
    pub caps: String,
    /// Where our RouterInfo is kept, when the embedder said so.
    pub router_info_file: Option<String>,
    /// Our published addresses.
    pub addresses: Vec<AddressReport>,
    /// Sessions with other routers.
    pub peers: PeersReport,
    /// The network database.
    pub netdb: NetDbReport,
    /// Every pool of tunnels.
    pub pools: Vec<PoolReport>,
    /// Tunnels of others.
    pub transit: TransitReport,
    /// Bytes from other routers since the start.
    pub bytes_received: u64,
    /// Bytes to other routers since the start.
    pub bytes_sent: u64,
    /// Bytes of messages to other routers since the start, by kind.
    pub messages: MessagesReport,
    /// Bytes that wait in the buffers of streams and of reassembly.
    pub buffered: u64,
    /// Names in the address book.
    pub names: u64,
    /// What is configured: the proxy, client tunnels, servers.
    pub services: Vec<ServiceReport>,
}

/// A published address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressReport {
    /// `NTCP2`, ..
    pub style: String,
    /// Where it can be reached; `None` when it cannot.
    pub host: Option<SocketAddr>,
}

/// Sessions with other routers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeersReport {
    /// Established by them.
    pub inbound: u64,
    /// Established by us.
    pub outbound: u64,
    /// Handshakes under way.
    pub pending: u64,
    /// Of those that are up, over SSU2.
    pub ssu2: u64,
}

/// The network database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetDbReport {
    /// RouterInfos that we know.
    pub routers: u64,
    /// Those of floodfills.
    pub floodfills: u64,
    /// Lease sets that our own destinations know.
    pub lease_sets: u64,
    /// Lookups since the start that found what they looked for.
    pub found: u64,
    /// Lookups since the start that did not.
    pub failed: u64,
    /// What we do as a floodfill; `None` when we are none.
    pub floodfill: Option<FloodfillReport>,
}

/// The work of a floodfill. The counts are since it became one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FloodfillReport {
    /// Lease sets kept for others.
    pub kept: u64,
    /// Entries that were new, or newer.
    pub stored: u64,
    /// Entries that were refused.
    pub refused: u64,
    /// Copies passed on to other floodfills.
    pub flooded: u64,
    /// Lookups answered with the entry.
    pub found: u64,
    /// Lookups answered with the names of others.
    pub referred: u64,
}

/// A pool of tunnels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolReport {
    /// `exploratory`, or the name of the service it belongs to.
    pub name: String,
    /// Inbound tunnels.
    pub inbound: DirectionReport,
    /// Outbound tunnels.
    pub outbound: DirectionReport,
}

/// One direction of a pool. The counts are since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectionReport {
    /// Tunnels that work.
    pub active: u64,
    /// Tunnels under construction.
    pub building: u64,
    /// Builds that succeeded.
    pub built: u64,
    /// Builds that a hop refused.
    pub refused: u64,
    /// Builds without an answer, or whose first router could not be reached.
    pub timed_out: u64,
    /// Builds for which there were no hops.
    pub no_path: u64,
    /// Tunnels given up because tests failed.
    pub failed: u64,
}

/// Tunnels of others that we take part in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransitReport {
    /// At the moment.
    pub tunnels: u64,
    /// Accepted since the start.
    pub accepted: u64,
    /// Refused since the start.
    pub refused: u64,
    /// Messages passed on since the start.
    pub messages: u64,
    /// Bytes passed on since the start.
    pub bytes: u64,
}

/// Bytes of the bodies of I2NP messages that were queued for other routers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessagesReport {
    /// Through tunnels, ours and others'.
    pub tunnels: u64,
    /// To build tunnels.
    pub builds: u64,
    /// Of the network database, outside of tunnels.
    pub netdb: u64,
    /// All else.
    pub other: u64,
}

/// A configured service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceReport {
    /// Its name in the configuration; `http_proxy` for the proxy.
    pub name: String,
    /// `http_proxy`, `client`, `server` or `http_server`.
    pub kind: String,
    /// Where local programs connect.
    pub listen: Option<SocketAddr>,
    /// Where it leads: a server's visitors to a local address, a client tunnel to a destination.
    pub target: Option<String>,
    /// The `.b32.i2p` address of its destination, once it has one.
    pub b32: Option<String>,
    /// Connections at the moment.
    pub connections: u64,
    /// Connections that were refused since the start, for want of room.
    pub refused: u64,
    /// Packets of its streams since the start, without mere acks.
    pub packets: u64,
    /// Of those, ones that had gone before.
    pub packets_again: u64,
    /// It has tunnels both ways, and visitors can find it.
    pub ready: bool,
}

impl InfoReport {
    /// As the document that answers `info`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = Json::default();
        json.object(|j| {
            j.key("version").number(VERSION);
            j.key("program").string(&self.program);
            j.key("uptime_s").number(self.uptime.as_secs());
            j.key("router").object(|j| {
                j.key("hash").string(&base64::encode(self.hash.as_bytes()));
                j.key("network").number(self.network.into());
                j.key("caps").string(&self.caps);
                j.key("router_info_file").optional(self.router_info_file.as_deref());
                j.key("addresses").array(|j| self.addresses.iter().for_each(|a| a.write(j)));
            });
            j.key("peers").object(|j| {
                j.key("inbound").number(self.peers.inbound);
                j.key("outbound").number(self.peers.outbound);
                j.key("pending").number(self.peers.pending);
                j.key("ssu2").number(self.peers.ssu2);
            });
            j.key("netdb").object(|j| {
                j.key("routers").number(self.netdb.routers);
                j.key("floodfills").number(self.netdb.floodfills);
                j.key("lease_sets").number(self.netdb.lease_sets);
                j.key("lookups_found").number(self.netdb.found);
                j.key("lookups_failed").number(self.netdb.failed);
                if let Some(floodfill) = &self.netdb.floodfill {
                    j.key("floodfill").object(|j| {
                        j.key("kept").number(floodfill.kept);
                        j.key("stored").number(floodfill.stored);
                        j.key("refused").number(floodfill.refused);
                        j.key("flooded").number(floodfill.flooded);
                        j.key("found").number(floodfill.found);
                        j.key("referred").number(floodfill.referred);
                    });
                }
            });
            j.key("pools").array(|j| self.pools.iter().for_each(|p| p.write(j)));
            j.key("transit").object(|j| {
                j.key("tunnels").number(self.transit.tunnels);
                j.key("accepted").number(self.transit.accepted);
                j.key("refused").number(self.transit.refused);
                j.key("messages").number(self.transit.messages);
                j.key("bytes").number(self.transit.bytes);
            });
            j.key("bytes_received").number(self.bytes_received);
            j.key("bytes_sent").number(self.bytes_sent);
            j.key("message_bytes_sent").object(|j| {
                j.key("tunnels").number(self.messages.tunnels);
                j.key("builds").number(self.messages.builds);
                j.key("netdb").number(self.messages.netdb);
                j.key("other").number(self.messages.other);
            });
            j.key("buffered_bytes").number(self.buffered);
            j.key("names").number(self.names);
            j.key("services").array(|j| self.services.iter().for_each(|s| s.write(j)));
        });
        json.finish()
    }
}

impl AddressReport {
    fn write(&self, json: &mut Json) {
        json.object(|j| {
            j.key("style").string(&self.style);
            let host = self.host.map(|host| alloc::format!("{host}"));
            j.key("address").optional(host.as_deref());
        });
    }
}

impl PoolReport {
    fn write(&self, json: &mut Json) {
        json.object(|j| {
            j.key("name").string(&self.name);
            self.inbound.write(j.key("inbound"));
            self.outbound.write(j.key("outbound"));
        });
    }
}

impl DirectionReport {
    fn write(&self, json: &mut Json) {
        let ended = self.built.saturating_add(self.refused).saturating_add(self.timed_out);
        json.object(|j| {
            j.key("active").number(self.active);
            j.key("building").number(self.building);
            j.key("built").number(self.built);
            j.key("refused").number(self.refused);
            j.key("timed_out").number(self.timed_out);
            j.key("no_path").number(self.no_path);
            j.key("failed").number(self.failed);
            j.key("success").ratio(self.built, ended);
        });
    }
}

impl ServiceReport {
    fn write(&self, json: &mut Json) {
        json.object(|j| {
            j.key("name").string(&self.name);
            j.key("kind").string(&self.kind);
            let listen = self.listen.map(|at| alloc::format!("{at}"));
            j.key("listen").optional(listen.as_deref());
            j.key("target").optional(self.target.as_deref());
            j.key("b32").optional(self.b32.as_deref());
            j.key("connections").number(self.connections);
            j.key("refused").number(self.refused);
            j.key("packets").number(self.packets);
            j.key("packets_again").number(self.packets_again);
            j.key("ready").boolean(self.ready);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    /// Everything a connection says, read in small pieces, and what it asked for.
    fn run(parts: &[&[u8]], report: &InfoReport) -> (String, Vec<ControlRequest>) {
        let mut control = Control::new(Instant::ZERO);
        let (mut out, mut asked) = (Vec::new(), Vec::new());
        for part in parts.iter().map(Some).chain([None]) {
            match part {
                Some(bytes) => assert_eq!(control.handle_local(bytes).taken, bytes.len()),
                None => control.handle_local_closed(),
            }
            loop {
                while let Some(request) = control.poll_request() {
                    asked.push(request);
                    if request == ControlRequest::Info {
                        control.handle_info(report);
                    }
                }
                if control.poll_local(7, &mut out) == 0 {
                    break;
                }
            }
        }
        assert_eq!(control.poll_timeout(), None);
        (String::from_utf8(out).unwrap(), asked)
    }

    fn report() -> InfoReport {
        InfoReport {
            program: "ramson \"0\"\n".to_string(),
            uptime: Duration::from_millis(61_500),
            network: 99,
            caps: "LR".to_string(),
            addresses: vec![AddressReport {
                style: "NTCP2".to_string(),
                host: Some(SocketAddr::from(([1, 2, 3, 4], 5))),
            }],
            pools: vec![PoolReport {
                name: "exploratory".to_string(),
                inbound: DirectionReport { built: 2, timed_out: 1, ..Default::default() },
                outbound: DirectionReport::default(),
            }],
            services: vec![ServiceReport {
                name: "a\\b".to_string(),
                kind: "http_server".to_string(),
                b32: Some("x.b32.i2p".to_string()),
                ready: true,
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn info_is_answered_however_it_is_cut() {
        let want = report().to_json() + "\n";
        assert!(want.starts_with(r#"{"version":1,"program":"ramson \"0\"\n","uptime_s":61,"#));
        assert!(want.contains(r#""addresses":[{"style":"NTCP2","address":"1.2.3.4:5"}]"#));
        assert!(want.contains(r#""timed_out":1,"no_path":0,"failed":0,"success":0.667}"#));
        assert!(want.contains(r#""success":null}}]"#));
        assert!(want.contains(r#"{"name":"a\\b","kind":"http_server","listen":null,"#));
        let asked = vec![ControlRequest::Info, ControlRequest::Close];
        for parts in [
            &[&b"info\n"[..]][..],
            &[b"info\r\nmore\n"],
            &[b"i", b"nf", b"o\n"],
            &[b" info "],
            &[b"info", b""],
        ] {
            assert_eq!(run(parts, &report()), (want.clone(), asked.clone()), "{parts:?}");
        }
    }

    #[test]
    fn anything_else_is_an_error_document() {
        let long = "x".repeat(MAX_LINE + 1);
        for line in ["\n", "INFO\n", "info x\n", "GET / HTTP/1.1\r\n", "\u{0}\n", long.as_str()] {
            let (out, asked) = run(&[line.as_bytes()], &report());
            assert!(
                out.starts_with("{\"version\":1,\"error\":\"") && out.ends_with("\"}\n"),
                "{out}"
            );
            assert_eq!(asked, [ControlRequest::Close], "{line:?}");
        }
        assert_eq!(run(&[], &report()), (String::new(), vec![ControlRequest::Close]));
    }

    #[test]
    fn a_silent_owner_is_closed() {
        let mut control = Control::new(Instant::ZERO);
        let _ = control.handle_local(b"in");
        control.handle_timeout(Instant::ZERO + TIMEOUT - Duration::from_micros(1));
        assert_eq!(control.poll_request(), None);
        control.handle_timeout(Instant::ZERO + TIMEOUT);
        assert_eq!(control.poll_request(), Some(ControlRequest::Close));
        assert_eq!((control.poll_request(), control.poll_timeout()), (None, None));
    }
}
