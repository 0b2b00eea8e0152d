//! Datagrams that came and were not taken.

use ramson_core::router::embed::AppDatagram;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// Datagrams that wait, and their bytes; the oldest make room.
const MAX_WAITING: usize = 256;
const MAX_BYTES: usize = 1024 * 1024;

#[derive(Default)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    notify: Notify,
}

#[derive(Default)]
struct Waiting {
    datagrams: VecDeque<AppDatagram>,
    bytes: usize,
}

impl Waiting {
    fn pop(&mut self) -> Option<AppDatagram> {
        let datagram = self.datagrams.pop_front()?;
        self.bytes = self.bytes.saturating_sub(datagram.payload.len());
        Some(datagram)
    }
}

impl Inbox {
    pub(crate) fn push(&self, datagram: AppDatagram) {
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let len = datagram.payload.len();
            while waiting.datagrams.len() >= MAX_WAITING || waiting.bytes + len > MAX_BYTES {
                if waiting.pop().is_none() {
                    break;
                }
                log::debug!("a datagram that nobody took made room");
            }
            waiting.bytes += len;
            waiting.datagrams.push_back(datagram);
        }
        self.notify.notify_one();
    }

    /// The oldest. Nothing is taken before the last moment, so that dropping the future loses
    /// nothing.
    pub(crate) async fn pop(&self) -> AppDatagram {
        loop {
            let notified = self.notify.notified();
            let (datagram, more) = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                (waiting.pop(), !waiting.datagrams.is_empty())
            };
            if more {
                // One notice may stand for several datagrams.
                self.notify.notify_one();
            }
            if let Some(datagram) = datagram {
                return datagram;
            }
            notified.await;
        }
    }
}
