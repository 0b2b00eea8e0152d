//! The routers as threads.

use super::plan::Plan;
use super::{Notice, TestnetError};
use crate::data_dir::DataDir;
use crate::{Handle, Runtime, RuntimeError};
use ramson_core::router::input::Command;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// Threads for jobs of one router: the others of the process want the processors too.
const JOB_THREADS: usize = 1;

/// What a router's thread says when it is ready to run.
type Started = Result<Handle, TestnetError>;

/// Routers that run, each on a thread of its own.
pub(super) struct Routers {
    all: Vec<Member>,
}

struct Member {
    handle: Handle,
    /// `None` when the end was heard of.
    thread: Option<JoinHandle<Result<(), RuntimeError>>>,
}

/// Says that a thread ended, however it did.
struct LastWord(usize, Sender<Notice>);

impl Drop for LastWord {
    fn drop(&mut self) {
        // Without a listener nobody waits for us.
        let _ = self.1.send(Notice::Ended(self.0));
    }
}

impl Routers {
    /// Starts all of them: first each binds its listeners, then all run, so that none finds another
    /// closed. With an error none runs.
    pub(super) fn start(plans: Vec<Plan>, notices: &Sender<Notice>) -> Result<Self, TestnetError> {
        let mut starting = Vec::new();
        for (i, plan) in plans.into_iter().enumerate() {
            let (say_started, started) = channel();
            let (say_go, go) = channel::<()>();
            let notices = notices.clone();
            let thread = std::thread::Builder::new()
                .name(format!("ramson-{i:02}"))
                .spawn(move || {
                    let _last_word = LastWord(i, notices);
                    run(i, plan, &say_started, &go)
                })
                .map_err(|e| TestnetError::system("start a thread", e))?;
            starting.push((thread, started, say_go));
        }
        let mut all = Vec::new();
        let mut gates = Vec::new();
        for (thread, started, say_go) in starting {
            let died = || TestnetError::Failed("a router's thread died".into());
            let handle = started.recv().map_err(|_| died())??;
            all.push(Member { handle, thread: Some(thread) });
            gates.push(say_go);
        }
        for gate in gates {
            // Its thread waits for nothing else.
            let _ = gate.send(());
        }
        Ok(Self { all })
    }

    /// Asks all of them to say goodbye.
    pub(super) fn shut_down(&self) {
        for router in &self.all {
            router.handle.send(Command::Shutdown);
        }
    }

    /// Takes note that a router ended; why, if that was an error.
    pub(super) fn ended(&mut self, i: usize) -> Result<(), TestnetError> {
        let Some(thread) = self.all.get_mut(i).and_then(|r| r.thread.take()) else { return Ok(()) };
        match thread.join() {
            Ok(result) => result.map_err(|error| TestnetError::Router { number: i, error }),
            Err(_) => Err(TestnetError::Failed(format!("router {i} panicked"))),
        }
    }

    /// How many have not ended.
    pub(super) fn running(&self) -> usize {
        self.all.iter().filter(|router| router.thread.is_some()).count()
    }
}

/// The folders of the routers, for who asks them how they are.
pub(super) fn folders(plans: &[Plan]) -> Vec<PathBuf> {
    plans.iter().map(|plan| plan.folder.clone()).collect()
}

fn run(
    i: usize,
    plan: Plan,
    started: &Sender<Started>,
    go: &Receiver<()>,
) -> Result<(), RuntimeError> {
    let start = || -> Result<Runtime, TestnetError> {
        let dir = DataDir::open(&plan.folder)?;
        Runtime::start_with(plan.settings, dir, JOB_THREADS)
            .map_err(|error| TestnetError::Router { number: i, error })
    };
    let runtime = match start() {
        Ok(runtime) => runtime,
        Err(e) => {
            // Whoever started us waits for it.
            let _ = started.send(Err(e));
            return Ok(());
        }
    };
    // Without a word to go another one failed.
    if started.send(Ok(runtime.handle())).is_ok() && go.recv().is_ok() {
        return runtime.run();
    }
    Ok(())
}
