//! Plays a recording to a router that starts from the same.

use super::file::{Items, RecordingError};
use super::item::{Call, Input, Item, Outcome};
use super::report::{Difference, Ending, Report};
use super::start::{self, Restored, read_config};
use super::{action_text, digest, transmit_text};
use crate::logger;
use crate::machine::Machine;
use log::{debug, trace};
use ramson_core::config::Config;
use ramson_core::rng::Seed;
use ramson_core::router::Router;
use ramson_core::router::input::{
    Command, Completion, ConnId, ConnInput, Datagram, EffectId, SocketId,
};
use ramson_core::router::job::Job;
use ramson_core::router::output::Action;
use ramson_core::time::{Instant, UnixTime};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Panics that are listed.
const MAX_PANICS: usize = 10;

/// Plays `from`, as far as its input number `until`.
///
/// # Errors
///
/// Nothing of it can be played.
pub(crate) fn play(from: impl Read, until: Option<u64>) -> Result<Report, RecordingError> {
    let (mut items, build) = Items::open(from)?;
    let mut player = Player::new(until);
    let ending = match player.play(&mut items) {
        Ok(ending) => ending,
        Err(e) if player.inputs == 0 => return Err(e),
        Err(e) => Ending::Damaged(e),
    };
    if player.inputs == 0 && !matches!(ending, Ending::Until) {
        return Err(RecordingError::NoStart);
    }
    let unanswered = player.pending.map(|outcome| (player.call, outcome.to_string()));
    Ok(Report {
        inputs: player.inputs,
        started: player.started,
        span: player.now.saturating_since(player.zero),
        compared: player.compared,
        same: player.compared - u64::from(matches!(ending, Ending::Different(_))),
        panics: player.panics,
        unanswered,
        other_build: build != start::build(),
        ending,
    })
}

struct Player {
    until: Option<u64>,
    config: Option<Config>,
    restored: Restored,
    router: Option<Router>,
    /// Those that the router asked for and whose end was not recorded yet.
    jobs: BTreeMap<u64, (EffectId, Job)>,
    buf: Vec<u8>,
    inputs: u64,
    compared: u64,
    panics: Vec<u64>,
    started: Option<UnixTime>,
    zero: Instant,
    now: Instant,
    /// The wall clock as the router knows it.
    wall: (Instant, UnixTime),
    /// What came of the last call, when what was recorded of that comes next.
    pending: Option<Outcome>,
    /// The last call, and the last input, for messages.
    call: String,
    input: String,
}

impl Player {
    fn new(until: Option<u64>) -> Self {
        Self {
            until,
            config: None,
            restored: Restored::default(),
            router: None,
            jobs: BTreeMap::new(),
            buf: Vec::new(),
            inputs: 0,
            compared: 0,
            panics: Vec::new(),
            started: None,
            zero: Instant::ZERO,
            now: Instant::ZERO,
            wall: (Instant::ZERO, UnixTime::default()),
            pending: None,
            call: String::new(),
            input: String::new(),
        }
    }

    fn play(&mut self, items: &mut Items<impl Read>) -> Result<Ending, RecordingError> {
        loop {
            let step = match items.next()? {
                None => return Ok(Ending::Killed(items.torn())),
                Some(item) => self.item(item),
            };
            match step {
                Ok(None) => {}
                Ok(Some(ending)) => return Ok(ending),
                Err(problem) => return Err(items.damaged(problem)),
            }
        }
    }

    /// Plays one item. An error says why it cannot be where it is.
    fn item(&mut self, item: Item<'_>) -> Result<Option<Ending>, &'static str> {
        match item {
            Item::End(end) => return Ok(Some(Ending::Recorded(end))),
            Item::Outcome(recorded) => {
                let replayed = self.pending.take().ok_or("an outcome without a call")?;
                let difference = self.compare(&recorded, &replayed);
                return Ok(difference.map(Ending::Different));
            }
            _ if self.pending.is_some() => return Err("a call without an outcome"),
            Item::Call(call) => {
                if call.is_input() && self.until == Some(self.inputs) {
                    return Ok(Some(Ending::Until));
                }
                self.note(call);
                self.pending = Some(self.perform(call)?);
            }
            Item::Program(_) => return Err("it says twice who recorded"),
            _ if self.router.is_some() => return Err("a part of the start after the start"),
            Item::Config { toml, sessions } => {
                let config = read_config(toml, sessions);
                self.config = Some(config.map_err(|_| "the configuration is not one")?);
            }
            Item::Stored(item) => {
                if !self.restored.add(item) {
                    return Err("more was stored than a router can have");
                }
            }
        }
        Ok(None)
    }

    /// Takes note of a call, and makes the clocks those of it.
    fn note(&mut self, call: Call<'_>) {
        self.call.clear();
        // Writing to a String cannot fail.
        let _ = write!(self.call, "{call}");
        if call.is_input() {
            self.inputs += 1;
            self.input.clone_from(&self.call);
        }
        if let Some(now) = call.now() {
            self.now = now;
        }
        if let Call::Start { now, unix, .. } = call {
            self.zero = now;
            self.started = Some(unix);
        }
        if let Call::Start { now, unix, .. } | Call::WallClock { now, unix } = call {
            self.wall = (now, unix);
        }
        let (at, unix) = self.wall;
        logger::set_time(unix + self.now.saturating_since(at));
        if call.is_input() {
            let at = self.now.saturating_since(self.zero);
            debug!("input {} at {:.6} s: {}", self.inputs, at.as_secs_f64(), self.call);
        } else {
            trace!("{}", self.call);
        }
    }

    fn compare(&mut self, recorded: &Outcome, replayed: &Outcome) -> Option<Difference> {
        self.compared += 1;
        if recorded == replayed {
            if *recorded == Outcome::Panicked && self.panics.len() < MAX_PANICS {
                self.panics.push(self.inputs);
            }
            return None;
        }
        Some(Difference {
            input: self.inputs,
            what: self.input.clone(),
            at: self.now.saturating_since(self.zero),
            call: self.call.clone(),
            recorded: recorded.to_string(),
            replayed: replayed.to_string(),
        })
    }

    /// Makes a call. A panic is an outcome like others.
    fn perform(&mut self, call: Call<'_>) -> Result<Outcome, &'static str> {
        if let Call::Start { seed, now, unix } = call {
            return self.start(seed, now, unix);
        }
        let router = self.router.as_mut().ok_or("a call before the start")?;
        let job = if let Call::JobDone { id, .. } | Call::JobFailed { id, .. } = call {
            Some(self.jobs.remove(&id).ok_or("the end of a job that nobody asked for")?)
        } else {
            None
        };
        let (buf, jobs) = (&mut self.buf, &mut self.jobs);
        buf.clear();
        let outcome = catch_unwind(AssertUnwindSafe(|| make(router, call, job, buf, jobs)));
        Ok(outcome.unwrap_or(Outcome::Panicked))
    }

    fn start(
        &mut self,
        seed: &[u8; 32],
        now: Instant,
        unix: UnixTime,
    ) -> Result<Outcome, &'static str> {
        if self.router.is_some() {
            return Err("a second start");
        }
        let config = Arc::new(self.config.take().ok_or("a start without a configuration")?);
        let stored = std::mem::take(&mut self.restored).stored;
        let seed = Seed::new(*seed);
        let made = catch_unwind(AssertUnwindSafe(|| Router::new(config, stored, seed, now, unix)));
        let Ok(made) = made else { return Ok(Outcome::Panicked) };
        let outcome = super::started(&made, |router| *router.hash().as_bytes());
        self.router = made.ok();
        Ok(outcome)
    }
}

/// Makes a call. The end of a job comes with the job.
fn make(
    router: &mut Router,
    call: Call<'_>,
    job: Option<(EffectId, Job)>,
    buf: &mut Vec<u8>,
    jobs: &mut BTreeMap<u64, (EffectId, Job)>,
) -> Outcome {
    match call {
        // Made elsewhere.
        Call::Start { .. } => {}
        Call::JobDone { now, .. } => {
            if let Some((id, job)) = job {
                router.handle_completion(now, id, Completion::Job(job.run()));
            }
        }
        Call::JobFailed { now, .. } => {
            if let Some((id, _)) = job {
                router.handle_completion(now, id, Completion::JobFailed);
            }
        }
        Call::Shutdown { now } => router.handle_command(now, Command::Shutdown),
        Call::WallClock { now, unix } => router.handle_wall_clock(now, unix),
        Call::Timeout { now } => router.handle_timeout(now),
        Call::Entropy { seed } => router.mix_entropy(Seed::new(*seed)),
        Call::Conn { now, conn, input } => {
            let input = match input {
                Input::Accepted(remote, listener) => ConnInput::Accepted { remote, listener },
                Input::Connected => ConnInput::Connected,
                Input::Bytes(bytes) => {
                    buf.extend_from_slice(bytes);
                    ConnInput::Bytes(buf)
                }
                Input::ReadClosed => ConnInput::ReadClosed,
                Input::Failed(error) => ConnInput::Failed(error),
            };
            let consumed = router.handle_conn(now, ConnId::from_u64(conn), input);
            return Outcome::Consumed { taken: consumed.taken, pause: consumed.pause };
        }
        Call::Datagram { now, socket, remote, segment, bytes } => {
            buf.extend_from_slice(bytes);
            let segment = (segment > 0).then_some(segment);
            let socket = SocketId(socket);
            router.handle_datagram(now, Datagram { socket, remote, payload: buf, segment });
        }
        Call::PollAction => {
            let action = router.poll_action();
            let text = action.as_ref().map(action_text);
            if let Some(Action::Run { id, job }) = action {
                jobs.insert(id.as_u64(), (id, job));
            }
            return Outcome::Action(text);
        }
        Call::PollTransmit { now, max } => {
            let transmit = router.poll_transmit(now, max, buf);
            return Outcome::Transmit(transmit.map(|transmit| transmit_text(&transmit, buf)));
        }
        Call::PollWritable => {
            return Outcome::Writable(router.poll_writable().map(ConnId::as_u64));
        }
        Call::PollConn { now, conn, room } => {
            let len = router.poll_conn(now, ConnId::from_u64(conn), room, buf);
            return Outcome::Written { len, digest: digest(buf) };
        }
        Call::PollTimeout => return Outcome::Timeout(Machine::poll_timeout(router)),
    }
    Outcome::Done
}
