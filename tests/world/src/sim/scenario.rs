//! A scenario as it is written: TOML, with everything that is not said at its default.

use crate::world::{Dependence, NatKind, Weather};
use ramson_core::config::Timing;
use serde::Deserialize;
use std::fmt;
use std::time::Duration;

/// A length of time, written `90 s`, `10m`, `250 ms` or `1h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl Span {
    /// So many seconds.
    #[must_use]
    pub const fn seconds(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no length of time, such as \"90 s\", \"10m\" or \"1h\"");
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(digits).ok_or_else(bad)?;
        let number: u64 = number.parse().map_err(|_| bad())?;
        let millis = match unit.trim() {
            "ms" => 1,
            "s" | "" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            _ => return Err(bad()),
        };
        // A year of virtual time is more than anybody waits for.
        let millis = number.checked_mul(millis).filter(|ms| *ms < 366 * 86_400_000);
        millis.map(|ms| Self(Duration::from_millis(ms))).ok_or_else(bad)
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            ms if ms % 1000 != 0 => write!(f, "{ms} ms"),
            ms if ms % 60_000 != 0 || ms == 0 => write!(f, "{} s", ms / 1000),
            ms if ms % 3_600_000 != 0 => write!(f, "{} min", ms / 60_000),
            ms => write!(f, "{} h", ms / 3_600_000),
        }
    }
}

/// Seconds since midnight UTC, written `23:50`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TimeOfDay(pub u64);

impl TryFrom<String> for TimeOfDay {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let time = text.split_once(':').and_then(|(hours, minutes)| {
            let (hours, minutes): (u64, u64) = (hours.parse().ok()?, minutes.parse().ok()?);
            (hours < 24 && minutes < 60).then_some(Self(hours * 3600 + minutes * 60))
        });
        time.ok_or_else(|| format!("{text:?} is no time of day, such as \"23:50\""))
    }
}

/// A network, what happens to it, and what must come of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// One line for people.
    pub about: String,
    /// How long it runs, in virtual time.
    #[serde(default = "Scenario::default_duration")]
    pub duration: Span,
    /// The network.
    #[serde(default)]
    pub network: Network,
    /// All its links.
    #[serde(default)]
    pub links: Links,
    /// What people do in it.
    #[serde(default)]
    pub traffic: Traffic,
    /// Boxes that translate addresses.
    #[serde(default, rename = "nat")]
    pub nats: Vec<Nats>,
    /// What goes wrong.
    #[serde(default, rename = "fault")]
    pub faults: Vec<Fault>,
    /// Who does not keep to the rules.
    #[serde(default, rename = "adversary")]
    pub adversaries: Vec<Adversary>,
    /// What must come of it.
    #[serde(default, rename = "expect")]
    pub expects: Vec<Expect>,
    /// For tests of the simulator: it has a bug, see [`crate::World::lose_wakes`].
    #[serde(skip)]
    pub planted_bug: bool,
}

/// Who is there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Routers in all.
    pub routers: usize,
    /// Share of them that are floodfills.
    pub floodfills: f64,
    /// Share of them that have a site.
    pub sites: f64,
    /// Share of them that have a proxy and read one of the sites each; as many as have sites when it is
    /// not said.
    pub readers: Option<f64>,
    /// Hops of every tunnel.
    pub length: u8,
    /// Tunnels of each destination in each direction.
    pub quantity: u8,
    /// RouterInfos that each one knows at its start, as from a reseed.
    pub known: usize,
    /// The time within which all start, one after the other.
    pub start: Span,
    /// The time of day at which the network begins, UTC, such as `23:50`.
    pub clock: Option<TimeOfDay>,
    /// Share of readers, and of those who only carry, that nobody reaches from outside.
    pub firewalled: f64,
    /// Routers that share a /16.
    pub neighbours: usize,
    /// Whether they speak NTCP2.
    pub ntcp2: bool,
    /// Whether they speak SSU2.
    pub ssu2: bool,
    /// When a build is given up: neither sooner, where builds are quick, nor with another one beside it.
    pub build_timeout: Option<Span>,
    /// Tests of a tunnel are so far apart, or half as much more.
    pub test_every: Option<Span>,
    /// When a test is given up, whatever is known of the tunnel.
    pub test_timeout: Option<Span>,
}

impl Network {
    /// When its routers give up.
    pub(super) fn timing(&self) -> Timing {
        let mut timing = Timing::default();
        if let Some(Span(timeout)) = self.build_timeout {
            (timing.build_timeout, timing.hedge_after) = ((timeout, timeout), timeout);
        }
        if let Some(Span(every)) = self.test_every {
            timing.test_every = (every, every * 3 / 2);
        }
        if let Some(Span(timeout)) = self.test_timeout {
            (timing.first_test_timeout, timing.test_timeout) = (timeout, (timeout, timeout));
        }
        timing
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            routers: 100,
            floodfills: 0.1,
            sites: 0.1,
            readers: None,
            length: 3,
            quantity: 2,
            known: 75,
            start: Span::seconds(30),
            clock: None,
            firewalled: 0.0,
            neighbours: 1,
            ntcp2: true,
            ssu2: false,
            build_timeout: None,
            test_every: None,
            test_timeout: None,
        }
    }
}

/// What all links do; see [`Weather`].
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Links {
    /// Share of TCP segments and of datagrams that are lost.
    pub loss: f64,
    /// How many are lost in a row, on average.
    pub burst: f64,
    /// Share of segments and datagrams that come late.
    pub late: f64,
    /// By how much at most.
    pub late_by: Span,
    /// Share of segments and datagrams with a wrong bit that no checksum finds.
    pub corrupt: f64,
    /// Share of datagrams that vanish because their checksum finds wrong bits.
    pub damage: f64,
    /// Share of datagrams that come twice.
    pub duplicate: f64,
    /// Bytes of the largest packet; 0 for Ethernet's 1500.
    pub mtu: u16,
    /// Bytes a second that a router can send; 0 for no limit.
    pub rate: u64,
    /// On top of what a link takes anyway, one way.
    pub delay: Span,
}

impl From<Links> for Weather {
    fn from(links: Links) -> Self {
        Self {
            loss: links.loss,
            burst: links.burst.max(1.0),
            late: links.late,
            late_by: links.late_by.0,
            corrupt: links.corrupt,
            damage: links.damage,
            duplicate: links.duplicate,
            mtu: Some(links.mtu).filter(|mtu| *mtu > 0),
            rate: Some(links.rate).filter(|rate| *rate > 0),
            delay: links.delay.0,
        }
    }
}

/// Boxes in front of a share of those that `firewalled` is about too, one for each, all of one kind.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nats {
    /// Share of them.
    pub share: f64,
    /// When a box takes another port.
    #[serde(default)]
    pub mapping: Dependence,
    /// Whom it lets in.
    #[serde(default)]
    pub filtering: Dependence,
    /// When it forgets what nobody inside used.
    #[serde(default = "Nats::default_lifetime")]
    pub lifetime: Span,
    /// Whether it keeps ports that are free.
    #[serde(default = "Nats::default_preserve")]
    pub preserve: bool,
    /// Whether those inside reach each other by its address.
    #[serde(default)]
    pub hairpin: bool,
}

impl Nats {
    fn default_lifetime() -> Span {
        Span(NatKind::default().lifetime)
    }

    fn default_preserve() -> bool {
        NatKind::default().preserves_ports
    }
}

impl From<Nats> for NatKind {
    fn from(nats: Nats) -> Self {
        Self {
            mapping: nats.mapping,
            filtering: nats.filtering,
            lifetime: nats.lifetime.0,
            preserves_ports: nats.preserve,
            hairpin: nats.hairpin,
        }
    }
}

/// What the readers do.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Traffic {
    /// How often each fetches a page.
    pub every: Span,
    /// Bytes of a page.
    pub size: usize,
    /// When a reader gives up.
    pub patience: Span,
    /// Share of the readers that keep a slow download open.
    pub streams: f64,
    /// How long one takes.
    pub stream_for: Span,
    /// Bytes of one.
    pub stream_size: usize,
    /// When it begins: a network needs its time.
    pub from: Span,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            every: Span::seconds(20),
            size: 2000,
            patience: Span::seconds(60),
            streams: 0.0,
            stream_for: Span::seconds(300),
            stream_size: 60_000,
            from: Span::seconds(120),
        }
    }
}

/// A part of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Everybody.
    #[default]
    All,
    /// Floodfills.
    Floodfills,
    /// Those with a site.
    Sites,
    /// Those who read.
    Readers,
    /// Those who only carry.
    Others,
}

/// Something that goes wrong at a moment, and mostly is right again after a while. Who is meant is drawn
/// by lot: `share` of a group, or `count` of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What it is.
    pub kind: FaultKind,
    /// When.
    pub at: Span,
    /// How long; for ever when it is not said.
    #[serde(default, rename = "for")]
    pub lasts: Option<Span>,
    /// Of which part of the network.
    #[serde(default)]
    pub of: Group,
    /// How much of it.
    #[serde(default)]
    pub share: Option<f64>,
    /// Or how many.
    #[serde(default)]
    pub count: Option<usize>,
    /// Within which time it comes to all of them, one after the other.
    #[serde(default)]
    pub within: Span,
    /// For `clock`: by how much it is set forward, in seconds, or back.
    #[serde(default)]
    pub seconds: i64,
    /// For `drift`: what the clock gains in a second, in microseconds.
    #[serde(default)]
    pub micros: i64,
    /// For `weather`: what it is like.
    #[serde(default)]
    pub links: Links,
    /// For `nat-rebind`: the boxes get new addresses too.
    #[serde(default)]
    pub renumber: bool,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The process dies; the kernel tells its peers. Afterwards it starts from its disk.
    Crash,
    /// The machine is gone, without a word.
    PowerLoss,
    /// The process stands still, and goes on as if nothing had been.
    Freeze,
    /// Those that are meant, and the others, do not reach each other.
    Partition,
    /// The link is down.
    LinkDown,
    /// The wall clock is set.
    Clock,
    /// The wall clock runs too fast, or too slow.
    Drift,
    /// The weather of their links.
    Weather,
    /// Nobody reaches them from outside any more.
    Firewall,
    /// The boxes in front of them forget all. It is never right again, and nothing has to be.
    NatRebind,
}

/// Routers that do not keep to the rules.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adversary {
    /// The name of the plug-in.
    pub kind: String,
    /// When they begin; they are honest before.
    #[serde(default)]
    pub at: Span,
    /// Of which part of the network.
    #[serde(default)]
    pub of: Group,
    /// How much of it.
    #[serde(default)]
    pub share: Option<f64>,
    /// Or how many.
    #[serde(default)]
    pub count: Option<usize>,
    /// How often they do it, 0 to 1, where they do it to what passes by.
    #[serde(default = "Adversary::always")]
    pub chance: f64,
    /// How often a second all of them together do it, where they begin it themselves.
    #[serde(default)]
    pub rate: u32,
    /// By how much, where it is about time.
    #[serde(default)]
    pub delay: Span,
}

/// What a fault takes from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    Power,
    Time,
    Peers,
    Link,
    Clock,
    Drift,
    Weather,
    Reach,
    Mappings,
}

impl FaultKind {
    pub(super) const fn effect(self) -> Effect {
        match self {
            Self::Crash | Self::PowerLoss => Effect::Power,
            Self::Freeze => Effect::Time,
            Self::Partition => Effect::Peers,
            Self::LinkDown => Effect::Link,
            Self::Clock => Effect::Clock,
            Self::Drift => Effect::Drift,
            Self::Weather => Effect::Weather,
            Self::Firewall => Effect::Reach,
            Self::NatRebind => Effect::Mappings,
        }
    }
}

/// What must come of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Expect {
    /// Of the pages asked for between `from` and `to`, so many come: the mean of what each reader sees, so
    /// that one who waits long counts as much as one who gets much. Pages asked for so late that nobody
    /// has lost patience by the end are left out.
    Fetches {
        /// From when on.
        #[serde(default)]
        from: Span,
        /// Until when.
        to: Option<Span>,
        /// At least so many in a hundred.
        percent: f64,
    },
    /// After `after`, so many of the pairs of a reader and a site that are up have a page that was asked
    /// for since then.
    Recovered {
        /// Since when.
        after: Span,
        /// At least so many in a hundred.
        percent: f64,
        /// So soon.
        within: Span,
    },
    /// Of the slow downloads between ends that live, so many are whole in the end.
    Streams {
        /// At least so many in a hundred.
        percent: f64,
    },
    /// Of the tunnels asked for between `from` and `to`, so many are built.
    Builds {
        /// From when on.
        #[serde(default)]
        from: Span,
        /// Until when.
        to: Option<Span>,
        /// At least so many in a hundred.
        percent: f64,
    },
    /// Of the packets of streams between `from` and `to`, mere acks left out, so many at most had gone
    /// before.
    Retransmissions {
        /// From when on.
        #[serde(default)]
        from: Span,
        /// Until when.
        to: Option<Span>,
        /// At most so many in a hundred.
        percent: f64,
    },
    /// Of the lookups that ended between `from` and `to`, so many found something.
    Lookups {
        /// From when on.
        #[serde(default)]
        from: Span,
        /// Until when.
        to: Option<Span>,
        /// At least so many in a hundred.
        percent: f64,
    },
    /// Of what the attackers of a kind tried, so much came to nothing. Some kinds see that themselves.
    Repelled {
        /// Which kind.
        kind: String,
        /// At least so many in a hundred.
        percent: f64,
    },
    /// Between `from` and `to`, no honest router goes by another time than its machine has.
    Clocks {
        /// From when on.
        #[serde(default)]
        from: Span,
        /// Until when.
        to: Option<Span>,
        /// By more than this.
        within: Span,
    },
}

impl Scenario {
    const fn default_duration() -> Span {
        Span::seconds(600)
    }

    /// Reads one, and says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let scenario: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        scenario.check()?;
        Ok(scenario)
    }

    /// What no type says.
    pub fn check(&self) -> Result<(), String> {
        let net = &self.network;
        let shares = [
            ("network.floodfills", net.floodfills),
            ("network.sites", net.sites),
            ("network.readers", net.readers.unwrap_or_default()),
            ("network.firewalled", net.firewalled),
            ("traffic.streams", self.traffic.streams),
        ];
        let faults = self.faults.iter().filter_map(|f| Some(("fault.share", f.share?)));
        let chances = self.adversaries.iter().flat_map(|a| {
            [("adversary.chance", a.chance), ("adversary.share", a.share.unwrap_or(0.0))]
        });
        let weather = |l: &Links| {
            [
                ("links.loss", l.loss),
                ("links.late", l.late),
                ("links.corrupt", l.corrupt),
                ("links.damage", l.damage),
                ("links.duplicate", l.duplicate),
            ]
        };
        let nats = self.nats.iter().map(|nats| ("nat.share", nats.share));
        let links = self.faults.iter().map(|f| &f.links).chain([&self.links]).flat_map(weather);
        for (name, share) in
            shares.into_iter().chain(faults).chain(chances).chain(links).chain(nats)
        {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("{name} is {share}: a share is from 0 to 1"));
            }
        }
        for links in self.faults.iter().map(|f| &f.links).chain([&self.links]) {
            if links.loss > 0.5 {
                return Err("links.loss is above 0.5: hardly anything would arrive".to_owned());
            }
            if links.mtu != 0 && !(576..=1500).contains(&links.mtu) {
                return Err(format!("links.mtu is {}: from 576 to 1500", links.mtu));
            }
            if !net.ssu2 && links.is_about_datagrams() {
                return Err(
                    "links: damage, duplicate and mtu are for networks with ssu2".to_owned()
                );
            }
        }
        if !(5..=17_000).contains(&net.routers) {
            return Err(format!("network.routers is {}: from 5 to 17000", net.routers));
        }
        if net.floodfills + net.sites + net.readers.unwrap_or(net.sites) > 1.0 {
            return Err(
                "network: a router is a floodfill, or has a site, or a reader; their shares \
                        (as many read as have sites) are above 1"
                    .to_owned(),
            );
        }
        if !(1..=200).contains(&net.neighbours) {
            return Err(format!("network.neighbours is {}: from 1 to 200", net.neighbours));
        }
        if !net.ntcp2 && !net.ssu2 {
            return Err("network: ntcp2 or ssu2 is needed".to_owned());
        }
        if self.nats.iter().map(|nats| nats.share).sum::<f64>() > 1.0 {
            return Err("nat: the shares are above 1".to_owned());
        }
        if let Some(nats) = self.nats.iter().find(|nats| nats.share == 0.0) {
            return Err(format!("nat.share is {}: nobody has such a box", nats.share));
        }
        if self.nats.iter().any(|nats| nats.lifetime.0.is_zero()) {
            return Err("nat.lifetime is above 0".to_owned());
        }
        net.timing().check().map_err(|e| format!("network: {e}"))?;
        if !(1..=7).contains(&net.length) || !(1..=16).contains(&net.quantity) {
            return Err("network: length is from 1 to 7, quantity from 1 to 16".to_owned());
        }
        let traffic = &self.traffic;
        if traffic.every.0.is_zero() || traffic.patience.0.is_zero() {
            return Err("traffic: every and patience are above 0".to_owned());
        }
        if traffic.size > 100 << 20 || traffic.stream_size > 100 << 20 {
            return Err("traffic: size and stream_size are up to 100 MiB".to_owned());
        }
        if traffic.stream_for.0.as_secs() == 0 {
            return Err("traffic.stream_for is a second or more".to_owned());
        }
        if net.known > 20_000 {
            return Err("network.known is up to 20000".to_owned());
        }
        self.faults.iter().try_for_each(|fault| self.check_fault(fault))?;
        for adversary in &self.adversaries {
            let name = format!("adversary {}", adversary.kind);
            if adversary.share.is_some() == adversary.count.is_some() {
                return Err(format!("{name}: either share or count"));
            }
            if adversary.rate > 10_000 {
                return Err(format!("{name}: rate is up to 10000 a second"));
            }
            if adversary.at >= self.duration {
                return Err(format!("{name}: it begins after the end"));
            }
        }
        self.expects.iter().try_for_each(|expect| self.check_expect(expect))
    }

    /// A fault that does nothing would let everything look well.
    fn check_fault(&self, fault: &Fault) -> Result<(), String> {
        let name = format!("fault {:?}", fault.kind);
        if fault.share.is_some() == fault.count.is_some() {
            return Err(format!("{name}: either share or count"));
        }
        if fault.lasts.is_some_and(|lasts| lasts.0.is_zero()) {
            return Err(format!("{name}: it is over at once"));
        }
        if fault.at >= self.duration {
            return Err(format!("{name}: it comes after the end"));
        }
        let needs = [
            (FaultKind::Clock, fault.seconds != 0, "seconds"),
            (FaultKind::Drift, fault.micros != 0, "micros"),
            (FaultKind::Weather, !fault.links.is_fair(), "links"),
        ];
        for (kind, said, field) in needs {
            if fault.kind == kind && !said {
                return Err(format!("{name}: it needs {field}"));
            }
            if fault.kind != kind && said {
                return Err(format!("{name}: {field} is for another kind"));
            }
        }
        if fault.kind == FaultKind::NatRebind {
            if self.nats.is_empty() {
                return Err(format!("{name}: it needs a [[nat]]"));
            }
            if fault.lasts.is_some() {
                return Err(format!(
                    "{name}: what a box forgot does not come back, for is for others"
                ));
            }
        } else if fault.renumber {
            return Err(format!("{name}: renumber is for another kind"));
        }
        // Ten years, and a clock that is twice as fast.
        if fault.seconds.unsigned_abs() > 315_360_000 || fault.micros.unsigned_abs() > 1_000_000 {
            return Err(format!("{name}: seconds or micros are out of all bounds"));
        }
        Ok(())
    }

    fn check_expect(&self, expect: &Expect) -> Result<(), String> {
        let (percent, from, to) = match expect {
            Expect::Fetches { from, to, percent }
            | Expect::Builds { from, to, percent }
            | Expect::Retransmissions { from, to, percent }
            | Expect::Lookups { from, to, percent } => (*percent, *from, *to),
            Expect::Recovered { after, percent, within } => {
                (*percent, *after, Some(Span(after.0 + within.0)))
            }
            Expect::Streams { percent } => (*percent, Span::default(), None),
            Expect::Repelled { kind, percent } => {
                if !self.adversaries.iter().any(|a| a.kind == *kind) {
                    return Err(format!("expect: there is no adversary of kind {kind:?}"));
                }
                (*percent, Span::default(), None)
            }
            Expect::Clocks { from, to, .. } => (100.0, *from, *to),
        };
        if !(percent > 0.0 && percent <= 100.0) {
            return Err(format!("expect: percent is {percent}: above 0, and up to 100"));
        }
        let to = to.unwrap_or(self.duration);
        if from >= to || to > self.duration {
            return Err(format!("expect: nothing is between {from} and {to} of {}", self.duration));
        }
        Ok(())
    }
}

impl Links {
    fn is_fair(&self) -> bool {
        let late = self.late > 0.0 && !self.late_by.0.is_zero();
        let delayed = !self.delay.0.is_zero() || self.rate > 0;
        self.loss == 0.0 && self.corrupt == 0.0 && !late && !delayed && !self.is_about_datagrams()
    }

    /// TCP sees nothing of it.
    fn is_about_datagrams(&self) -> bool {
        self.damage > 0.0 || self.duplicate > 0.0 || self.mtu > 0
    }
}

impl Adversary {
    const fn always() -> f64 {
        1.0
    }
}
