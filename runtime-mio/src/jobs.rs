//! A few threads for CPU work whose order does not matter.

use log::error;
use mio::Waker;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Work and the name under which its result is wanted.
struct Task<I, R> {
    id: I,
    work: Box<dyn FnOnce() -> R + Send>,
}

/// What the threads share. The router bounds how much it asks for at once.
struct Shared<I, R> {
    queue: Mutex<Queue<I, R>>,
    filled: Condvar,
}

struct Queue<I, R> {
    tasks: VecDeque<Task<I, R>>,
    closed: bool,
}

/// The threads. Dropping it lets each finish the task at hand.
pub(crate) struct Pool<I, R> {
    shared: Arc<Shared<I, R>>,
    results: Receiver<(I, Option<R>)>,
}

impl<I: Send + 'static, R: Send + 'static> Pool<I, R> {
    /// Starts `threads` of them; each result wakes `waker`.
    pub(crate) fn start(threads: usize, waker: &Arc<Waker>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { tasks: VecDeque::new(), closed: false }),
            filled: Condvar::new(),
        });
        let (send, results) = channel();
        let pool = Self { shared, results };
        for i in 0..threads {
            let (shared, send, waker) = (pool.shared.clone(), send.clone(), waker.clone());
            std::thread::Builder::new()
                .name(format!("ramson-job-{i}"))
                .spawn(move || work(&shared, &send, &waker))?;
        }
        Ok(pool)
    }

    /// Queues work.
    pub(crate) fn spawn(&self, id: I, work: impl FnOnce() -> R + Send + 'static) {
        let task = Task { id, work: Box::new(work) };
        self.shared.lock().tasks.push_back(task);
        self.shared.filled.notify_one();
    }

    /// The next result; `None` in it when the work panicked.
    pub(crate) fn poll(&self) -> Option<(I, Option<R>)> {
        self.results.try_recv().ok()
    }
}

impl<I, R> Shared<I, R> {
    /// Nothing panics while it is held, so a poisoned lock is as good as another.
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue<I, R>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for work; `None` at the end.
    fn next(&self) -> Option<Task<I, R>> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(task) = queue.tasks.pop_front() {
                return Some(task);
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<I, R> Drop for Pool<I, R> {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_all();
    }
}

fn work<I, R>(shared: &Shared<I, R>, results: &Sender<(I, Option<R>)>, waker: &Waker) {
    while let Some(Task { id, work }) = shared.next() {
        let result = catch_unwind(AssertUnwindSafe(work));
        if result.is_err() {
            error!("a job panicked");
        }
        // When the loop is gone nobody waits for this.
        if results.send((id, result.ok())).is_err() || waker.wake().is_err() {
            return;
        }
    }
}

/// One thread less than there are cores, for the loop has one, and at least one.
pub(crate) fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};
    use std::time::Duration;

    #[test]
    fn results_wake_the_loop_and_a_panic_is_a_result() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let pool: Pool<u32, u32> = Pool::start(2, &waker).unwrap();
        for i in 0..10 {
            pool.spawn(i, move || {
                if i == 3 {
                    std::panic::resume_unwind(Box::new("without the noise of panic!"));
                }
                i * i
            });
        }
        let mut events = Events::with_capacity(4);
        let mut results = Vec::new();
        while results.len() < 10 {
            poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
            assert!(!events.is_empty(), "nothing woke the loop");
            while let Some(result) = pool.poll() {
                results.push(result);
            }
        }
        results.sort_unstable();
        let want: Vec<_> = (0..10).map(|i| (i, (i != 3).then_some(i * i))).collect();
        assert_eq!(results, want);
    }
}
