//! The way to the disk: the loop appends to a buffer in memory, a thread of its own writes it.

use super::file::BLOCK_HEAD;
use super::item::{Call, End, Item, Outcome};
use super::writer::Writer;
use super::{Start, folder};
use log::{debug, warn};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What waits for the disk at most, in bytes. A disk that is slower than the network for longer
/// than that ends the recording.
const MAX_QUEUE: usize = 16 << 20;
/// Items that are written at once, without waiting for [`PAUSE`].
const HURRY: usize = 1 << 20;
/// The thread looks this often: so much is lost at most when the process is killed, and so often at
/// most it is woken.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes that are kept free for the outcome of the last call, the end and the head of the last
/// block. Texts of outcomes are shorter, and there is one of them at most.
const RESERVE: u64 = 4 << 10;
/// Buffers longer than this are not kept.
const KEEP: usize = 4 << 20;
/// How long the end of a router waits for the disk.
const PATIENCE: Duration = Duration::from_secs(2);

/// Records the calls of one router.
pub(super) struct Recorder {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    path: PathBuf,
}

struct State {
    /// Items that are not written yet.
    items: Vec<u8>,
    /// The time of the last of them.
    last: u64,
    /// Bytes of the file with all of `items`.
    total: u64,
    limit: u64,
    /// The deadline was recorded, and nothing since: it is still the same.
    deadline_known: bool,
    /// Nothing more is recorded.
    ended: bool,
    /// The thread waits for items, without a deadline.
    idle: bool,
    /// The thread is done.
    done: bool,
}

impl Recorder {
    /// Makes the file and writes how the router starts. `limit`: bytes of all recordings of this
    /// folder.
    pub(super) fn start(data: &Path, limit: u64, start: &Start<'_>) -> io::Result<Self> {
        // Before older recordings make room for it.
        let len = Writer::start_len(start) + RESERVE;
        if len > limit / 2 {
            let problem = format!(
                "its start alone has {len} bytes, which is more than half of the limit, {limit}"
            );
            return Err(io::Error::other(problem));
        }
        let (file, path, older) = folder::create(data)?;
        Writer::start(file, older, limit, start)
            .and_then(|(writer, last)| Self::spawn(writer, last, path.clone()))
            .inspect_err(|_| {
                // Without a start it is of no use to anybody.
                let _ = std::fs::remove_file(path);
            })
    }

    /// Goes on after what `writer` wrote, the last of it at the time `last`.
    fn spawn(writer: Writer, last: u64, path: PathBuf) -> io::Result<Self> {
        let state = State {
            items: Vec::new(),
            last,
            total: writer.len(),
            limit: writer.limit(),
            deadline_known: false,
            ended: false,
            idle: false,
            done: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), path });
        let for_thread = shared.clone();
        std::thread::Builder::new()
            .name("ramson-record".into())
            .spawn(move || run(&for_thread, writer))?;
        Ok(Self { shared })
    }

    /// Where it records to.
    pub(super) fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Records a call that is about to be made. `false` when this one is not recorded, and so its
    /// outcome must not be.
    pub(super) fn call(&self, call: Call<'_>) -> bool {
        let mut state = self.shared.lock();
        let is_deadline = matches!(call, Call::PollTimeout);
        if state.ended || (is_deadline && state.deadline_known) {
            return false;
        }
        let State { items, last, .. } = &mut *state;
        let before = items.len();
        let known = Item::Call(call).encode(items, last);
        let added = items.len() - before;
        let end = if known.is_none() {
            Some(End::Unknown)
        } else if state.total.saturating_add(added as u64 + RESERVE) > state.limit {
            Some(End::Limit)
        } else if state.items.len() > MAX_QUEUE {
            Some(End::Slow)
        } else {
            None
        };
        if let Some(end) = end {
            // Calls are recorded whole or not at all.
            state.items.truncate(before);
            self.shared.end(&mut state, end);
            self.complain(end);
            return false;
        }
        state.deadline_known = is_deadline;
        self.shared.added(state, added);
        true
    }

    /// Records what the call gave.
    pub(super) fn outcome(&self, outcome: Outcome) {
        let mut state = self.shared.lock();
        if state.ended {
            return;
        }
        let State { items, last, .. } = &mut *state;
        let before = items.len();
        // Outcomes are all known.
        let _ = Item::Outcome(outcome).encode(items, last);
        let added = state.items.len() - before;
        self.shared.added(state, added);
    }

    /// Ends the recording before an input that no item can say.
    pub(super) fn give_up(&self) {
        let mut state = self.shared.lock();
        if !state.ended {
            self.shared.end(&mut state, End::Unknown);
            self.complain(End::Unknown);
        }
    }

    fn complain(&self, end: End) {
        let path = self.path().display();
        match end {
            End::Stopped => {}
            End::Limit => warn!(
                "{path}: recording ended, the limit is reached; it can be replayed, and the next start is recorded again"
            ),
            End::Slow => warn!(
                "{path}: recording ended, the disk is too slow; it can be replayed, and the next start is recorded again"
            ),
            End::Unknown => warn!("{path}: recording ended, something cannot be recorded yet"),
        }
    }
}

impl Drop for Recorder {
    /// Waits for the disk, but not forever.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if !state.ended {
            self.shared.end(&mut state, End::Stopped);
        }
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, |state| !state.done);
        if waited.is_ok_and(|(_, timeout)| timeout.timed_out()) {
            warn!(
                "{}: the end of the recording may be missing: the disk is slow",
                self.path().display()
            );
        }
    }
}

impl Shared {
    /// Nothing panics while it is held, so a poisoned lock is as good as another.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many bytes were appended.
    fn added(&self, mut state: MutexGuard<'_, State>, added: usize) {
        state.total += added as u64;
        let wake = std::mem::take(&mut state.idle)
            || (state.items.len() >= HURRY && state.items.len() - added < HURRY);
        drop(state);
        if wake {
            self.changed.notify_all();
        }
    }

    fn end(&self, state: &mut State, end: End) {
        let State { items, last, .. } = &mut *state;
        let _ = Item::End(end).encode(items, last);
        state.ended = true;
        self.changed.notify_all();
    }

    /// Waits for items and takes them, leaving `spare`. `false` when these are the last.
    fn take(&self, spare: &mut Vec<u8>) -> bool {
        let mut state = self.lock();
        while state.items.is_empty() && !state.ended {
            state.idle = true;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle = false;
        std::mem::swap(&mut state.items, spare);
        if !spare.is_empty() {
            state.total += BLOCK_HEAD as u64;
        }
        !state.ended
    }

    fn pause(&self) {
        let more = |state: &mut State| !state.ended && state.items.len() < HURRY;
        // However it ends, the thread goes on.
        drop(self.changed.wait_timeout_while(self.lock(), PAUSE, more));
    }
}

fn run(shared: &Shared, mut writer: Writer) {
    let mut items = Vec::new();
    loop {
        let more = shared.take(&mut items);
        if !items.is_empty()
            && let Err(e) = writer.block(&items)
        {
            warn!("{}: recording ended, cannot write: {e}", shared.path.display());
            shared.lock().ended = true;
            break;
        }
        items.clear();
        items.shrink_to(KEEP);
        if !more {
            break;
        }
        shared.pause();
    }
    let mut state = shared.lock();
    state.done = true;
    state.items = Vec::new();
    shared.changed.notify_all();
    debug!("{}: {} bytes", shared.path.display(), writer.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::folder::Older;
    use crate::record::item::Input;
    use ramson_core::config::Config;
    use ramson_core::router::input::Stored;
    use ramson_core::time::{Instant, UnixTime};
    use std::fs::{File, OpenOptions};
    use std::os::fd::OwnedFd;

    const LIMIT: u64 = 1 << 30;

    /// Records to `file` as long as that is possible; how many bytes that were.
    fn record(file: File) -> usize {
        let (config, stored) = (Config::default(), Stored::default());
        let now = Instant::from_micros(1);
        let start = Start::new(&config, &stored, &[1; 32], now, UnixTime::default()).unwrap();
        let Ok((writer, last)) = Writer::start(file, Older::default(), LIMIT, &start) else {
            return 0;
        };
        let recorder = Recorder::spawn(writer, last, "x".into()).unwrap();
        let bytes = [7; 50_000];
        let call = Call::Conn { now, conn: 1, input: Input::Bytes(&bytes) };
        let mut len = 0;
        while recorder.call(call) {
            recorder.outcome(Outcome::Consumed { taken: 0, pause: false });
            len += bytes.len();
            assert!(len < LIMIT as usize, "it does not end");
        }
        // Once ended, ended.
        assert!(!recorder.call(Call::PollAction));
        len
    }

    #[test]
    fn a_disk_that_takes_nothing_ends_the_recording_and_blocks_nobody() {
        let (read, write) = std::io::pipe().unwrap();
        let len = record(File::from(OwnedFd::from(write)));
        assert!((MAX_QUEUE - (1 << 20)..2 * MAX_QUEUE + (1 << 20)).contains(&len), "{len}");
        drop(read);
    }

    #[test]
    fn a_disk_that_is_full_ends_the_recording() {
        // Only where there is such a thing.
        if let Ok(full) = OpenOptions::new().write(true).open("/dev/full") {
            assert_eq!(record(full), 0);
        }
        let (read, write) = std::io::pipe().unwrap();
        let mut first = [0; 4096];
        std::thread::spawn(move || {
            // Takes the start, then is gone.
            std::io::Read::read(&mut { read }, &mut first)
        });
        record(File::from(OwnedFd::from(write)));
    }
}
