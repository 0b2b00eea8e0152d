//! The way to the disk: the loop appends to a buffer in memory, a thread of its own writes it.

use super::Start;
use super::file::{BLOCK_HEAD, Framer};
use super::folder::{self, Older};
use super::item::{Call, End, Item, Outcome};
use crate::clock;
use log::{debug, warn};
use std::fs::File;
use std::io::{self, Write};
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
        let (file, path, older) = folder::create(data)?;
        Self::write_start(file, path.clone(), older, limit, start).inspect_err(|_| {
            // Without a start it is of no use to anybody.
            let _ = std::fs::remove_file(path);
        })
    }

    fn write_start(
        file: File,
        path: PathBuf,
        older: Older,
        limit: u64,
        start: &Start<'_>,
    ) -> io::Result<Self> {
        let (framer, head) = Framer::start();
        let mut writer = Writer { file, framer, older, len: 0, limit };
        writer.append(&[&head])?;
        let (mut items, mut last) = (Vec::new(), 0);
        start.each(|item| {
            let known = item.encode(&mut items, &mut last);
            debug_assert!(known.is_some(), "only calls can be unknown, and this one is not");
            // The first says who recorded, and is read before all else.
            if items.len() >= HURRY || matches!(item, Item::Program(_)) {
                writer.block(&items)?;
                items.clear();
            }
            Ok::<_, io::Error>(())
        })?;
        writer.block(&items)?;
        let total = writer.len;
        if total.saturating_add(RESERVE) > limit {
            let problem = format!("its start alone has {total} bytes, the limit is {limit}");
            return Err(io::Error::other(problem));
        }
        let state = State {
            items: Vec::new(),
            last,
            total,
            limit,
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
        let is_deadline = call == Call::PollTimeout;
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
    debug!("{}: {} bytes at {:?}", shared.path.display(), writer.len, clock::now());
}

/// Writes blocks, and makes room for them.
struct Writer {
    file: File,
    framer: Framer,
    older: Older,
    len: u64,
    limit: u64,
}

impl Writer {
    fn block(&mut self, items: &[u8]) -> io::Result<()> {
        let head =
            self.framer.head(items).ok_or_else(|| io::Error::other("a block is too long"))?;
        self.append(&[&head, items])
    }

    /// All of it, or the file is as before.
    fn append(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let len = parts.iter().map(|part| part.len() as u64).sum::<u64>();
        self.older.shrink(self.limit.saturating_sub(self.len.saturating_add(len)))?;
        let written = parts.iter().try_for_each(|part| self.file.write_all(part));
        match written {
            Ok(()) => self.len += len,
            // Otherwise its end is torn, which does no harm either.
            Err(_) => drop(self.file.set_len(self.len)),
        }
        written
    }
}
