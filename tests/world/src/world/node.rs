//! One node of a world: a machine with an address, a disk and a clock.

use super::MakeConduct;
use super::disk::Disk;
use super::nat::Nat;
use super::pipe::EndId;
use super::udp::{NatId, UdpId};
use super::weather::{Frozen, Weather};
use ramson_core::config::Config;
use ramson_core::rng::Rng;
use ramson_core::router::Router;
use ramson_core::router::embed::AppEvent;
use ramson_core::router::input::{ConnId, ConnInput, Consumed};
use ramson_core::router::output::{Action, Event, Transmit, Wake};
use ramson_core::time::{Instant, UnixTime};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Wakes of one node in one virtual second: more is a timer that runs away.
const MAX_WAKES_A_SECOND: u32 = 20_000;
/// Wakes of one node at one instant, at which it says that it is still due.
const MAX_WAKES_AT_ONCE: u32 = 1_000;

/// A step of the wall clock, in milliseconds, that peers do not notice.
const UNNOTICED: u64 = 5_000;

/// One machine of the network.
pub(super) struct Node {
    pub(super) config: Arc<Config>,
    /// `None` while it is down.
    pub(super) router: Option<Box<Router>>,
    /// Down without a word: its kernel refuses nothing and resets nothing.
    pub(super) dark: bool,
    /// Where its router listens for TCP, as published.
    pub(super) address: SocketAddr,
    pub(super) address_v6: IpAddr,
    /// The box in front of it.
    pub(super) nat: Option<NatId>,
    /// What datagrams meet while it is firewalled.
    pub(super) firewall: Option<Nat>,
    /// Sockets that are not its router's, by port.
    pub(super) udps: BTreeMap<u16, UdpId>,
    pub(super) weather: Weather,
    pub(super) side: u32,
    pub(super) link: bool,
    pub(super) firewalled: bool,
    pub(super) frozen: Option<Frozen>,
    pub(super) conduct: Option<MakeConduct>,
    /// When what it sent has left.
    pub(super) uplink_free: Instant,
    pub(super) disk: Disk,
    /// RouterInfos that its owner gave it.
    pub(super) known: Vec<Arc<[u8]>>,
    pub(super) conns: BTreeMap<ConnId, EndId>,
    pub(super) accepted: u64,
    /// Counts starts: what was meant for an earlier one is not for this one.
    pub(super) incarnation: u64,
    pub(super) armed: Option<Instant>,
    pub(super) happened: Vec<Event>,
    /// What its router told the program that it is embedded in.
    pub(super) told: VecDeque<AppEvent>,
    pub(super) seeds: Rng,
    /// Milliseconds that its wall clock is ahead.
    pub(super) ahead: i64,
    /// Microseconds that it gains in a second.
    pub(super) drift: i64,
    /// The wall clock as its router knows it, and since when.
    pub(super) told_clock: Option<(Instant, UnixTime)>,
    /// Tunnels that its router had built when their paths were looked at last.
    pub(super) built: u64,
    /// How often it was looked at.
    pub(super) checks: u32,
    wakes: Wakes,
}

/// Finds timers that run away.
#[derive(Default)]
struct Wakes {
    total: u64,
    second: u64,
    in_second: u32,
    at: Instant,
    at_once: u32,
}

impl Node {
    pub(super) fn new(
        config: Arc<Config>,
        address: SocketAddr,
        address_v6: IpAddr,
        seeds: Rng,
    ) -> Self {
        Self {
            config,
            router: None,
            dark: false,
            address,
            address_v6,
            nat: None,
            firewall: None,
            udps: BTreeMap::new(),
            weather: Weather::FAIR,
            side: 0,
            link: true,
            firewalled: false,
            frozen: None,
            conduct: None,
            uplink_free: Instant::ZERO,
            disk: Disk::default(),
            known: Vec::new(),
            conns: BTreeMap::new(),
            accepted: 0,
            incarnation: 0,
            armed: None,
            happened: Vec::new(),
            told: VecDeque::new(),
            seeds,
            ahead: 0,
            drift: 0,
            told_clock: None,
            built: 0,
            checks: 0,
            wakes: Wakes::default(),
        }
    }

    /// Its wall clock.
    pub(super) fn unix(&self, now: Instant) -> UnixTime {
        let right = super::EPOCH + now.saturating_since(Instant::ZERO);
        let seconds = (now.as_micros() / 1_000_000) as i64;
        let ahead = self.ahead * 1000 + self.drift * seconds;
        let step = Duration::from_micros(ahead.unsigned_abs());
        if ahead < 0 { right - step } else { right + step }
    }

    pub(super) fn next_accepted(&mut self) -> ConnId {
        self.accepted += 1;
        ConnId::accepted(self.accepted)
    }

    pub(super) fn handle_conn(
        &mut self,
        now: Instant,
        conn: ConnId,
        input: ConnInput<'_>,
    ) -> Consumed {
        let given = match &input {
            ConnInput::Bytes(bytes) => Some(bytes.len()),
            _ => None,
        };
        let consumed = match &mut self.router {
            Some(router) => router.handle_conn(now, conn, input),
            None => Consumed::default(),
        };
        if let Some(given) = given {
            assert!(consumed.taken <= given, "{} taken of {given}", consumed.taken);
        }
        consumed
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some(router) = &mut self.router {
            router.handle_timeout(now);
        }
    }

    pub(super) fn handle_wall_clock(&mut self, now: Instant) {
        let unix = self.unix(now);
        let before = self.timers(now);
        if let Some(router) = &mut self.router {
            router.handle_wall_clock(now, unix);
        }
        if let Some((before, after)) = before.zip(self.timers(now)) {
            let expected = self.told_clock.map(|(at, unix)| unix + now.saturating_since(at));
            let off = expected.map_or(0, |e| e.as_millis().abs_diff(unix.as_millis()));
            before.assert_unmoved(&after, off > UNNOTICED);
        }
        self.told_clock = Some((now, unix));
    }

    pub(super) fn poll_action(&mut self) -> Option<Action> {
        self.router.as_mut()?.poll_action()
    }

    pub(super) fn poll_writable(&mut self) -> Option<ConnId> {
        self.router.as_mut()?.poll_writable()
    }

    pub(super) fn poll_conn(
        &mut self,
        now: Instant,
        conn: ConnId,
        room: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        let before = out.len();
        let n = match &mut self.router {
            Some(router) => router.poll_conn(now, conn, room, out),
            None => 0,
        };
        assert_eq!(out.len() - before, n, "poll_conn says how much it appended");
        assert!(n <= room, "{n} bytes for a room of {room}");
        n
    }

    /// Takes over what the embedder is told; says whether there was anything.
    pub(super) fn poll_app_events(&mut self) -> bool {
        let Some(router) = &mut self.router else { return false };
        let before = self.told.len();
        while let Some(event) = router.poll_app_event() {
            self.told.push_back(event);
        }
        self.told.len() > before
    }

    pub(super) fn poll_timeout(&self) -> Option<(Instant, Wake)> {
        self.router.as_ref()?.poll_timeout()
    }

    pub(super) fn poll_transmit(
        &mut self,
        now: Instant,
        max_segments: usize,
        out: &mut Vec<u8>,
    ) -> Option<Transmit> {
        self.router.as_mut()?.poll_transmit(now, max_segments, out)
    }

    /// The port of its router's sockets, if it has any.
    pub(super) fn udp_port(&self) -> Option<u16> {
        self.config.ssu2.port.filter(|_| self.config.ssu2.enabled)
    }

    /// Wakes since the start.
    pub(super) const fn wakes(&self) -> u64 {
        self.wakes.total
    }

    /// Counts a wake.
    pub(super) fn note_wake(&mut self, now: Instant) {
        let second = now.as_micros() / 1_000_000;
        if self.wakes.second != second {
            self.wakes.second = second;
            self.wakes.in_second = 0;
        }
        if self.wakes.at != now {
            self.wakes.at = now;
            self.wakes.at_once = 0;
        }
        self.wakes.total += 1;
        self.wakes.in_second += 1;
        self.wakes.at_once += 1;
        let why = self.poll_timeout();
        assert!(self.wakes.at_once < MAX_WAKES_AT_ONCE, "due for ever: {why:?} at {now:?}");
        assert!(self.wakes.in_second < MAX_WAKES_A_SECOND, "wakes without end: {why:?}");
    }
}
