//! The format of scenarios.
//!
//! A line each, `#` begins a comment, words are separated by spaces. First the network:
//!
//! ```text
//! routers N                    routers 0 to N-1, on loopback addresses; 2 to 20
//! floodfills N                 so many of them, the last ones, are floodfills
//! leaves N                     so many of them, the first ones, carry nothing for others
//! hops N                       the length of every tunnel
//! serve NAME at R WHAT         a destination at router R, NAME.i2p in all address books
//! ```
//!
//! `WHAT` is what is behind it:
//!
//! ```text
//! echo          says what it hears, and ends when that ends
//! http SIZE     a web server, whose every page has SIZE bytes
//! refuse        nobody
//! answer SIZE   listens to the end, then says SIZE bytes and ends
//! greet SIZE    says SIZE bytes and ends its direction, but listens to the end
//! close SIZE    says SIZE bytes and goes
//! reset SIZE    says SIZE bytes, hears one, and breaks off
//! sink          listens to the end, says nothing, ends
//! pour          says more and more
//! ```
//!
//! Then what happens, step by step, each with `=>` and what has to come of it. `S` names a stream,
//! `T` a service, or a host such as `nobody.i2p`:
//!
//! ```text
//! open S from R to T           a program at router R opens a stream
//! send S SIZE                  it says SIZE bytes
//! receive S SIZE               it hears SIZE bytes more
//! finish S                     it ends its direction
//! rest S                       it hears all up to the end, and goes
//! reset S                      it breaks off
//! heard NAME                   what the service heard on the next of its streams that is over
//! fetch T from R               a page of a web server
//! find T from R                whether the network knows it
//! learn H is NAME at R         it takes a name over from a link with an address helper
//! many N from R to T each SIZE N streams at once to an echo, each saying SIZE bytes while all are open
//! works from R to T            until a stream to an echo works
//! tunnels R                    until a router has tunnels for all that it does
//! rebuilt R                    until a router has tunnels in place of those that a kill cost it
//! stop R                       a router stops in good order
//! kill R                       a router is gone from one moment to the next
//! damaged R                    a router that is down does not start with half of its keys
//! start R [elsewhere]          it starts again with what it stored, under another runtime if so told
//! ```
//!
//! What is said is the test content from its beginning ([`content`](crate::http::content)), in each
//! direction of a stream. What was heard so far is told by its length and the first half of its SHA-256
//! in hexadecimal, `, end` follows when the other side ended; `reset` means that it broke off.

use std::collections::BTreeMap;
use std::fmt;

/// The most bytes of one step.
const MAX_SIZE: usize = 64 << 20;

/// A network, and what happens in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// How it is called in messages.
    pub name: String,
    /// How many routers there are.
    pub routers: usize,
    /// How many of them are floodfills, the last ones.
    pub floodfills: usize,
    /// How many of them carry nothing for others, the first ones.
    pub leaves: usize,
    /// The length of tunnels.
    pub hops: u8,
    /// The destinations.
    pub services: Vec<Service>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// A destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The router that it is at.
    pub router: usize,
    /// What is behind it.
    pub serves: Serves,
}

/// What a destination serves; see the [module](self) for the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// What it hears.
    Echo,
    /// Pages of so many bytes.
    Http(usize),
    /// Nobody is there.
    Refuse,
    /// So many bytes, when it has heard all.
    Answer(usize),
    /// So many bytes, and listens on.
    Greet(usize),
    /// So many bytes, and goes.
    Close(usize),
    /// So many bytes, and breaks off after the next byte it hears.
    Reset(usize),
    /// Nothing.
    Sink,
    /// No end of bytes.
    Pour,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The line, without what is expected.
    pub text: String,
    /// What is done.
    pub action: Action,
    /// What has to come of it.
    pub expected: String,
}

/// What is done in a step; see the [module](self) for the words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of the format")]
pub enum Action {
    Open { stream: String, from: usize, to: String },
    Send { stream: String, size: usize },
    Receive { stream: String, size: usize },
    Finish { stream: String },
    Rest { stream: String },
    Reset { stream: String },
    Heard { service: String },
    Fetch { from: usize, to: String },
    Find { from: usize, to: String },
    Learn { router: usize, host: String, service: String },
    Many { streams: usize, from: usize, to: String, size: usize },
    Works { from: usize, to: String },
    Tunnels { router: usize },
    Rebuilt { router: usize },
    Stop { router: usize },
    Kill { router: usize },
    Damaged { router: usize },
    Start { router: usize, elsewhere: bool },
}

/// A line that is not understood, and what would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    file: String,
    line: usize,
    problem: String,
}

impl fmt::Display for ParseError {
    /// `endings.txt:12: problem`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.problem)
    }
}

impl std::error::Error for ParseError {}

impl Scenario {
    /// Reads a scenario; `name` is that of its file. The format is described in the [module](self).
    ///
    /// # Errors
    ///
    /// The first line that is wrong.
    pub fn parse(name: &str, text: &str) -> Result<Self, ParseError> {
        let mut parser = Parser::new(name);
        let mut last = 0;
        for (number, line) in (1..).zip(text.lines()) {
            last = number;
            let line = line.split('#').next().unwrap_or("").trim();
            if !line.is_empty() {
                parser.line(line).map_err(|problem| error(name, number, problem))?;
            }
        }
        parser.finish().map_err(|problem| error(name, last, problem))
    }

    /// The text of its steps, each with what has to come of it.
    #[must_use]
    pub fn expected(&self) -> Vec<String> {
        self.steps.iter().map(|step| step.told(&step.expected)).collect()
    }

    /// The service of that name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }
}

impl Step {
    /// The step and what came of it.
    #[must_use]
    pub fn told(&self, outcome: &str) -> String {
        format!("{} => {outcome}", self.text)
    }
}

fn error(name: &str, line: usize, problem: String) -> ParseError {
    ParseError { file: name.into(), line, problem }
}

/// What was read so far.
struct Parser {
    scenario: Scenario,
    /// Streams, and the router that their program is at, while they are open.
    streams: BTreeMap<String, usize>,
    /// Routers that do not run.
    down: Vec<usize>,
}

impl Parser {
    fn new(name: &str) -> Self {
        let scenario = Scenario {
            name: name.into(),
            routers: 0,
            floodfills: 0,
            leaves: 0,
            hops: 0,
            services: Vec::new(),
            steps: Vec::new(),
        };
        Self { scenario, streams: BTreeMap::new(), down: Vec::new() }
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (text, expected) = match line.split_once("=>") {
            Some((text, expected)) => (text, Some(expected.trim())),
            None => (line, None),
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        if self.statement(&words)? {
            return match expected {
                Some(_) => Err("only a step has an outcome".into()),
                None if self.scenario.steps.is_empty() => Ok(()),
                None => Err("the network is described before the first step".into()),
            };
        }
        let action = self.step(&words)?;
        let expected = expected.filter(|e| !e.is_empty());
        let expected = expected.ok_or("a step ends with `=>` and what has to come of it")?.into();
        self.scenario.steps.push(Step { text: words.join(" "), action, expected });
        Ok(())
    }

    fn statement(&mut self, words: &[&str]) -> Result<bool, String> {
        let scenario = &mut self.scenario;
        match words {
            ["routers", n] => scenario.routers = number(n, 2, 20)?,
            ["floodfills", n] => scenario.floodfills = number(n, 1, 20)?,
            ["leaves", n] => scenario.leaves = number(n, 0, 20)?,
            ["hops", n] => scenario.hops = u8::try_from(number(n, 0, 7)?).unwrap(),
            ["serve", name, "at", router, what @ ..] => {
                let router = self.router(router)?;
                let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
                if name.is_empty() || !plain {
                    return Err(format!("{name:?}: a name has lower-case letters and digits"));
                }
                if self.scenario.service(name).is_some() {
                    return Err(format!("there is a service {name} already"));
                }
                let serves = serves(what)?;
                let name = String::from(*name);
                self.scenario.services.push(Service { name, router, serves });
            }
            ["routers" | "floodfills" | "leaves" | "hops", ..] => {
                return Err(format!("{}: one number follows", words[0]));
            }
            ["serve", ..] => return Err("serve: `NAME at R WHAT` follows".into()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn step(&mut self, words: &[&str]) -> Result<Action, String> {
        Ok(match words {
            ["open", stream, "from", from, "to", to] => {
                let from = self.up(from)?;
                let to = self.target(to)?;
                let stream = String::from(*stream);
                if self.streams.insert(stream.clone(), from).is_some() {
                    return Err(format!("stream {stream} is open already"));
                }
                Action::Open { stream, from, to }
            }
            ["send", stream, n] => Action::Send { stream: self.stream(stream)?, size: size(n)? },
            ["receive", stream, n] => {
                Action::Receive { stream: self.stream(stream)?, size: size(n)? }
            }
            ["finish", stream] => Action::Finish { stream: self.stream(stream)? },
            ["rest", stream] => Action::Rest { stream: self.ended(stream)? },
            ["reset", stream] => Action::Reset { stream: self.ended(stream)? },
            ["heard", name] => match self.scenario.service(name).map(|s| s.serves) {
                None => return Err(format!("there is no service {name}")),
                Some(Serves::Http(_) | Serves::Refuse) => {
                    return Err(format!("{name} does not say what it heard"));
                }
                Some(_) => Action::Heard { service: (*name).into() },
            },
            ["fetch", to, "from", from] => {
                Action::Fetch { from: self.up(from)?, to: self.target(to)? }
            }
            ["find", to, "from", from] => {
                Action::Find { from: self.up(from)?, to: self.target(to)? }
            }
            ["learn", host, "is", name, "at", router] => {
                if self.scenario.service(name).is_none() {
                    return Err(format!("there is no service {name}"));
                }
                let (host, service) = (self.target(host)?, String::from(*name));
                Action::Learn { router: self.up(router)?, host, service }
            }
            ["many", n, "from", from, "to", to, "each", bytes] => {
                let (from, to) = (self.up(from)?, self.echo(to)?);
                Action::Many { streams: number(n, 1, 500)?, from, to, size: size(bytes)? }
            }
            ["works", "from", from, "to", to] => {
                Action::Works { from: self.up(from)?, to: self.echo(to)? }
            }
            ["tunnels", router] => Action::Tunnels { router: self.up(router)? },
            ["rebuilt", router] => Action::Rebuilt { router: self.up(router)? },
            ["stop", router] => Action::Stop { router: self.put_down(router)? },
            ["kill", router] => Action::Kill { router: self.put_down(router)? },
            ["damaged", router] => {
                let router = self.router(router)?;
                if !self.down.contains(&router) {
                    return Err(format!("router {router} runs"));
                }
                Action::Damaged { router }
            }
            ["start", router] => Action::Start { router: self.put_up(router)?, elsewhere: false },
            ["start", router, "elsewhere"] => {
                Action::Start { router: self.put_up(router)?, elsewhere: true }
            }
            [word, ..] => {
                return Err(format!("{word}: unknown, or not with these words behind it"));
            }
            [] => return Err("`=>` without a step".into()),
        })
    }

    fn finish(self) -> Result<Scenario, String> {
        let scenario = self.scenario;
        if scenario.routers == 0 || scenario.hops == 0 {
            return Err("there is no `routers N`, or no `hops N`".into());
        }
        if !(1..=scenario.routers).contains(&scenario.floodfills) {
            return Err("there is no `floodfills N`, or there are more than routers".into());
        }
        if scenario.leaves + usize::from(scenario.hops) > scenario.routers {
            return Err("too few routers are left to build tunnels of".into());
        }
        if scenario.steps.is_empty() {
            return Err("nothing happens".into());
        }
        Ok(scenario)
    }

    fn router(&self, word: &str) -> Result<usize, String> {
        match word.parse() {
            Ok(router) if router < self.scenario.routers => Ok(router),
            _ => Err(format!("there is no router {word}; `routers N` comes first")),
        }
    }

    fn up(&self, word: &str) -> Result<usize, String> {
        let router = self.router(word)?;
        if self.down.contains(&router) {
            return Err(format!("router {router} does not run"));
        }
        Ok(router)
    }

    fn put_down(&mut self, word: &str) -> Result<usize, String> {
        let router = self.up(word)?;
        self.down.push(router);
        Ok(router)
    }

    fn put_up(&mut self, word: &str) -> Result<usize, String> {
        let router = self.router(word)?;
        let at = self.down.iter().position(|r| *r == router);
        self.down.remove(at.ok_or(format!("router {router} runs already"))?);
        Ok(router)
    }

    fn target(&self, word: &str) -> Result<String, String> {
        if self.scenario.service(word).is_none() && !word.ends_with(".i2p") {
            return Err(format!("{word}: neither a service nor a host that ends in .i2p"));
        }
        Ok(word.into())
    }

    fn echo(&self, word: &str) -> Result<String, String> {
        match self.scenario.service(word) {
            Some(service) if service.serves == Serves::Echo => Ok(word.into()),
            _ => Err(format!("{word} is no echo")),
        }
    }

    fn stream(&self, word: &str) -> Result<String, String> {
        let open = self.streams.contains_key(word);
        open.then(|| word.into()).ok_or(format!("no stream {word} is open"))
    }

    fn ended(&mut self, word: &str) -> Result<String, String> {
        let stream = self.stream(word)?;
        self.streams.remove(&stream);
        Ok(stream)
    }
}

fn serves(words: &[&str]) -> Result<Serves, String> {
    Ok(match words {
        ["echo"] => Serves::Echo,
        ["http", n] => Serves::Http(size(n)?),
        ["refuse"] => Serves::Refuse,
        ["answer", n] => Serves::Answer(size(n)?),
        ["greet", n] => Serves::Greet(size(n)?),
        ["close", n] => Serves::Close(size(n)?),
        ["reset", n] => Serves::Reset(size(n)?),
        ["sink"] => Serves::Sink,
        ["pour"] => Serves::Pour,
        _ => {
            return Err(format!(
                "nothing serves {:?}; allowed: echo, refuse, sink, pour, or http, answer, greet, close, reset with a SIZE",
                words.join(" ")
            ));
        }
    })
}

fn size(word: &str) -> Result<usize, String> {
    number(word, 1, MAX_SIZE)
}

fn number(word: &str, min: usize, max: usize) -> Result<usize, String> {
    let number = word.parse().ok().filter(|n| (min..=max).contains(n));
    number.ok_or(format!("{word}: allowed is a number from {min} to {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: &str = "routers 3\nfloodfills 1\nhops 1\nserve bob at 1 echo\n";

    #[test]
    fn a_scenario_is_read_and_told_again() {
        let text = format!(
            "# About it.\n{NETWORK}serve web at 2 http 100  # pages\n\n\
             open  s from 0 to bob =>  open\nsend s 10 => sent\nrest s => 10 bytes abc, end\n\
             find nobody.i2p from 0 => unknown name\nkill 2 => killed\nstart 2 elsewhere => same\n"
        );
        let scenario = Scenario::parse("x.txt", &text).unwrap();
        assert_eq!((scenario.routers, scenario.floodfills, scenario.hops), (3, 1, 1));
        let web = Service { name: "web".into(), router: 2, serves: Serves::Http(100) };
        assert_eq!(scenario.services[1], web);
        assert_eq!(scenario.steps[4].action, Action::Kill { router: 2 });
        assert_eq!(
            scenario.expected()[..3],
            ["open s from 0 to bob => open", "send s 10 => sent", "rest s => 10 bytes abc, end"]
        );
    }

    #[test]
    fn a_wrong_line_is_named_with_what_is_wrong() {
        for (lines, problem) in [
            ("dance 1 => done", "5: dance: unknown"),
            ("open s from 0 => open", "5: open: unknown, or not with these words"),
            ("tunnels 0", "5: a step ends with `=>`"),
            ("tunnels 0 =>", "5: a step ends with `=>`"),
            ("=> done", "5: `=>` without a step"),
            ("tunnels 3 => yes", "5: there is no router 3"),
            ("tunnels x => yes", "5: there is no router x"),
            ("routers 1", "5: 1: allowed is a number from 2 to 20"),
            ("routers", "5: routers: one number follows"),
            ("hops 2 => two", "5: only a step has an outcome"),
            ("tunnels 0 => yes\nhops 2", "6: the network is described before"),
            ("serve bob at 2 echo", "5: there is a service bob already"),
            ("serve Bob at 2 echo", "5: \"Bob\": a name has lower-case"),
            ("serve web at 2", "5: nothing serves \"\"; allowed: echo,"),
            ("serve web at 2 http", "5: nothing serves \"http\""),
            ("serve web at 2 http 0", "5: 0: allowed is a number from 1 to"),
            ("serve web", "5: serve: `NAME at R WHAT` follows"),
            ("open s from 0 to alice => open", "5: alice: neither a service nor a host"),
            ("send s 10 => sent", "5: no stream s is open"),
            ("open s from 0 to bob => open\nsend s ten => sent", "6: ten: allowed is a number"),
            ("open s from 0 to bob => open\nopen s from 0 to bob => open", "6: stream s is open"),
            ("open s from 0 to bob => open\nrest s => end\nfinish s => x", "7: no stream s"),
            ("serve web at 2 http 1\nmany 2 from 0 to web each 1 => x", "6: web is no echo"),
            ("serve web at 2 http 1\nheard web => x", "6: web does not say"),
            ("learn x.i2p is alice at 0 => x", "5: there is no service alice"),
            ("learn x is bob at 0 => x", "5: x: neither a service nor a host"),
            ("heard alice => x", "5: there is no service alice"),
            ("stop 1 => stopped\nkill 1 => killed", "6: router 1 does not run"),
            ("stop 0 => stopped\nopen s from 0 to bob => open", "6: router 0 does not run"),
            ("damaged 1 => refused", "5: router 1 runs"),
            ("start 1 => same", "5: router 1 runs already"),
            ("", "4: nothing happens"),
        ] {
            let e = Scenario::parse("x.txt", &format!("{NETWORK}{lines}")).unwrap_err();
            let (text, start) = (e.to_string(), format!("x.txt:{problem}"));
            assert!(text.starts_with(&start), "{lines:?}: {text}, not {start}");
        }
        for (text, problem) in [
            ("serve bob at 0 echo", "x.txt:1: there is no router 0; `routers N` comes first"),
            ("routers 2\nhops 1\ntunnels 0 => yes", "x.txt:3: there is no `floodfills N`"),
            ("routers 2\nfloodfills 3\nhops 1\ntunnels 0 => yes", "x.txt:4: there is no `flood"),
            ("routers 2\nfloodfills 1\ntunnels 0 => yes", "x.txt:3: there is no `routers N`, or"),
            (
                "routers 2\nfloodfills 1\nleaves 2\nhops 1\ntunnels 0 => yes",
                "x.txt:5: too few routers",
            ),
        ] {
            let e = Scenario::parse("x.txt", text).unwrap_err().to_string();
            assert!(e.starts_with(problem), "{text:?}: {e}");
        }
    }
}
