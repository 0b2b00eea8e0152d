//! What the user sees: a block that is drawn again and again on a terminal, else a line now and
//! then, or JSON for scripts.

use super::bench::Bench;
use super::status::{Status, seconds};
use super::{HOST, plan};
use crate::info::size;
use serde_json::{Value, json};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How often a line is written where nothing can be drawn.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// How often there is a JSON document; statuses come more often at first.
const JSON_EVERY: Duration = Duration::from_millis(900);

/// Where it goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Terminal,
    Lines,
    Json,
}

/// What is known before anything runs.
#[derive(Clone, Debug)]
pub(super) struct Intro {
    pub(super) routers: usize,
    pub(super) proxy: SocketAddr,
    pub(super) folder: PathBuf,
    pub(super) bench: Option<u64>,
}

/// Writes to standard output.
pub(super) struct Display {
    style: Style,
    intro: Intro,
    /// What is under way, beside the numbers.
    doing: String,
    /// Lines of the block on the screen.
    drawn: usize,
    /// When a status was written last.
    written: Option<Duration>,
    closed: bool,
}

impl Display {
    /// Says what this is.
    pub(super) fn begin(intro: Intro, json: bool) -> Self {
        let style = match (json, io::stdout().is_terminal()) {
            (true, _) => Style::Json,
            (false, true) => Style::Terminal,
            (false, false) => Style::Lines,
        };
        let doing = "starting".into();
        let mut display = Self { style, intro, doing, drawn: 0, written: None, closed: false };
        let intro = &display.intro;
        let document = json!({
            "event": "start",
            "routers": intro.routers,
            "floodfills": plan::floodfills(intro.routers),
            "hops": super::HOPS,
            "proxy": intro.proxy.to_string(),
            "url": format!("http://{HOST}/"),
            "folder": intro.folder.display().to_string(),
        });
        display.event(&document, &intro.to_text());
        display
    }

    /// Nobody reads any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The state of things.
    pub(super) fn status(&mut self, status: &Status) {
        let due = |every| self.written.is_none_or(|at| status.elapsed >= at + every);
        match self.style {
            Style::Terminal => {
                let block = self.block(status);
                self.draw(&block);
            }
            Style::Lines if due(LINE_EVERY) => {
                self.written = Some(status.elapsed);
                let line = self.line(status);
                self.write(&line);
            }
            Style::Json if due(JSON_EVERY) => {
                self.written = Some(status.elapsed);
                self.write(&format!("{}\n", status.to_json()));
            }
            Style::Lines | Style::Json => {}
        }
    }

    /// What goes on from now.
    pub(super) fn doing(&mut self, elapsed: Duration, what: &str) {
        self.doing = what.into();
        if self.style == Style::Lines {
            self.write(&format!("{:>6} {what}\n", clock_text(elapsed)));
        }
    }

    /// All routers have their tunnels.
    pub(super) fn ready(&mut self, status: &Status) {
        let document = json!({
            "event": "ready",
            "seconds": seconds(status.elapsed),
            "tunnels": status.tunnels,
            "sessions": status.sessions,
            "resident_bytes": (status.resident > 0).then_some(status.resident),
        });
        if self.style == Style::Json {
            self.event(&document, "");
        }
        let text = format!("all routers are ready after {:.1} s", status.elapsed.as_secs_f64());
        self.doing(status.elapsed, &text);
    }

    /// The site was seen through the network.
    pub(super) fn open(&mut self, elapsed: Duration, first_byte: Duration) {
        let document = json!({
            "event": "open",
            "seconds": seconds(elapsed),
            "first_byte_ms": seconds(first_byte * 1000),
        });
        if self.style == Style::Json {
            self.event(&document, "");
        }
        self.doing(elapsed, &format!("http://{HOST}/ answers, go and see it"));
    }

    /// What was measured.
    pub(super) fn bench(&mut self, bench: &Bench) {
        self.event(&bench.to_json(), &format!("\n{}", bench.to_text()));
    }

    /// The last word.
    pub(super) fn end(&mut self, elapsed: Duration, ready: bool, problem: Option<String>) {
        let document = json!({
            "event": "end",
            "ok": problem.is_none(),
            "seconds": seconds(elapsed),
            "ready": ready,
            "problem": problem,
        });
        // A problem is told on standard error.
        let text = if problem.is_none() { "stopped; nothing is left behind\n" } else { "" };
        self.event(&document, text);
    }

    /// Something that stays on the screen.
    fn event(&mut self, document: &Value, text: &str) {
        if self.style == Style::Json {
            self.write(&format!("{document}\n"));
        } else {
            self.drawn = 0;
            self.write(text);
        }
    }

    /// Draws over what was drawn last.
    fn draw(&mut self, block: &str) {
        let up = match self.drawn {
            0 => String::new(),
            n => format!("\x1b[{n}A\r\x1b[J"),
        };
        self.drawn = block.lines().count();
        self.write(&format!("{up}{block}"));
    }

    fn write(&mut self, text: &str) {
        let mut out = io::stdout().lock();
        if let Err(e) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            self.closed |= e.kind() == ErrorKind::BrokenPipe;
        }
    }

    /// One line for logs.
    fn line(&self, s: &Status) -> String {
        format!(
            "{:>6} {} of {} routers ready, {} tunnels, {} sessions, {} transit, {}/s, {} resident\n",
            clock_text(s.elapsed),
            s.ready,
            s.routers,
            s.tunnels,
            s.sessions,
            s.transit,
            size(s.bytes_per_second),
            size(s.resident),
        )
    }

    /// The block for terminals; no line is wider than 80 columns.
    fn block(&self, s: &Status) -> String {
        let each = size(s.resident_each());
        let rows = [
            ("routers", format!("{} of {} ready, {}", s.ready, s.routers, clock_text(s.elapsed))),
            ("sessions", format!("{} between them", s.sessions)),
            (
                "tunnels",
                format!("{} up, {} being built, {} hops in all", s.tunnels, s.building, s.transit),
            ),
            ("traffic", format!("{}/s, {} so far", size(s.bytes_per_second), size(s.bytes))),
            ("proxy", format!("{}, {} connections", self.intro.proxy, s.proxy_connections)),
            ("memory", format!("{} resident, {each} a router", size(s.resident))),
            ("now", self.doing.clone()),
        ];
        rows.iter()
            .filter(|(key, _)| *key != "memory" || s.resident > 0)
            .map(|(key, value)| format!("  {key:<9} {value}\n"))
            .collect()
    }
}

impl Intro {
    fn to_text(&self) -> String {
        let Self { routers, proxy, folder, bench } = self;
        let floodfills = plan::floodfills(*routers);
        let folder = folder.display();
        let mut text = format!(
            "\
{routers} Ramson routers in this process, {floodfills} of them floodfills; tunnels have {} hops.
Nothing leaves this machine. Stop with Ctrl-C.

",
            super::HOPS
        );
        if bench.is_none() {
            text += &format!(
                "\
See the site that one of them hosts through the proxy of another, six hops away:

  curl -x {proxy} http://{HOST}/

or set the HTTP proxy of a browser to {proxy} and open the same address.
What one router sees:

  ramson info --data-dir {folder}/router-00

"
            );
        }
        text
    }
}

/// `0:07`, `1:02:03`.
fn clock_text(d: Duration) -> String {
    let s = d.as_secs();
    if s < 3600 {
        format!("{}:{:02}", s / 60, s % 60)
    } else {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intro() -> Intro {
        Intro {
            routers: 12,
            proxy: "127.0.0.1:4444".parse().unwrap(),
            folder: "/tmp/ramson-testnet-7-0".into(),
            bench: None,
        }
    }

    fn display() -> Display {
        let doing = "all routers are ready after 3.5 s".into();
        let intro = intro();
        Display { style: Style::Terminal, intro, doing, drawn: 0, written: None, closed: false }
    }

    fn status() -> Status {
        Status {
            elapsed: Duration::from_millis(3_725_500),
            routers: 12,
            ready: 11,
            tunnels: 56,
            building: 3,
            transit: 168,
            sessions: 66,
            bytes: 5 << 20,
            bytes_per_second: 1536,
            proxy_connections: 1,
            resident: 96 << 20,
            ..Status::default()
        }
    }

    #[test]
    fn the_block_fits_a_terminal() {
        let block = display().block(&status());
        let want = "  routers   11 of 12 ready, 1:02:05
  sessions  66 between them
  tunnels   56 up, 3 being built, 168 hops in all
  traffic   1.5 KiB/s, 5.0 MiB so far
  proxy     127.0.0.1:4444, 1 connections
  memory    96.0 MiB resident, 8.0 MiB a router
  now       all routers are ready after 3.5 s
";
        assert_eq!(block, want);
        assert!(intro().to_text().lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn a_line_says_the_same_in_short() {
        let want = "1:02:05 11 of 12 routers ready, 56 tunnels, 66 sessions, 168 transit, 1.5 KiB/s, \
                    96.0 MiB resident\n";
        assert_eq!(display().line(&status()), want);
    }

    #[test]
    fn the_introduction_says_how_to_try_it() {
        let text = intro().to_text();
        assert!(text.starts_with("12 Ramson routers in this process, 4 of them floodfills;"));
        assert!(text.contains("\n  curl -x 127.0.0.1:4444 http://example.i2p/\n"), "{text}");
        let bench = Intro { bench: Some(1), ..intro() }.to_text();
        assert!(!bench.contains("curl"), "{bench}");
    }
}
