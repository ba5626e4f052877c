//! Who waits for jobs, on whatever thread and event loop \[Q16\].

use ferroq_core::Name;
use pyo3::prelude::*;

/// One waiter: a callable that wakes it, from any thread, and says whether it could.
pub(crate) struct Waiter {
    pub(crate) ticket: u64,
    /// The storage object that it waits through.
    pub(crate) owner: u64,
    pub(crate) queues: Option<Vec<Name>>,
    pub(crate) wake: Py<PyAny>,
}

impl Waiter {
    fn wants(&self, queue: &Name) -> bool {
        self.queues.as_ref().is_none_or(|queues| queues.contains(queue))
    }
}

/// All waiters of a store, longest waiting first. A waiter is removed by whoever wakes it, so that no two jobs count on the
/// same one. Nothing here calls or drops a Python object: the waiters are handed out for that.
#[derive(Default)]
pub(crate) struct Waiters {
    waiting: Vec<Waiter>,
    last_ticket: u64,
}

impl Waiters {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn add(&mut self, owner: u64, queues: Option<Vec<Name>>, wake: Py<PyAny>) -> u64 {
        self.last_ticket += 1;
        self.waiting.push(Waiter { ticket: self.last_ticket, owner, queues, wake });
        self.last_ticket
    }

    pub(crate) fn remove(&mut self, ticket: u64) -> Option<Waiter> {
        let at = self.waiting.iter().position(|waiter| waiter.ticket == ticket)?;
        Some(self.waiting.remove(at))
    }

    /// One waiter for each job that became ready, by the job's queue.
    pub(crate) fn for_jobs(&mut self, queues: &[Name]) -> Vec<Waiter> {
        let mut chosen = Vec::new();
        for queue in queues {
            if self.waiting.is_empty() {
                break;
            }
            if let Some(at) = self.waiting.iter().position(|waiter| waiter.wants(queue)) {
                chosen.push(self.waiting.remove(at));
            }
        }
        chosen
    }

    /// The first waiter that a job may be ready for.
    pub(crate) fn first(&mut self, mut ready: impl FnMut(Option<&[Name]>) -> bool) -> Option<Waiter> {
        let at = self.waiting.iter().position(|waiter| ready(waiter.queues.as_deref()))?;
        Some(self.waiting.remove(at))
    }

    /// All of one owner, or all.
    pub(crate) fn drain(&mut self, owner: Option<u64>) -> Vec<Waiter> {
        let (gone, stay) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|waiter| owner.is_none_or(|owner| owner == waiter.owner));
        self.waiting = stay;
        gone
    }
}
