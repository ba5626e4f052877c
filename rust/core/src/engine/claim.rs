//! Claims, and what comes before each: taking over what has come due or has lapsed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{CLAIM_BYTES, Claim, Claimed, Engine, TAKEOVER};
use crate::job::{ClaimLock, Job};
use crate::name::Name;
use crate::slots::Slot;
use crate::state::{Kind, State, clip};
use crate::time::Micros;
use crate::time_queue::Entry;

impl Engine {
    /// Claims up to `limit` jobs of these queues (None: all) in claim order \[Q8, Q11\]. Fewer come back where their text
    /// passes [`CLAIM_BYTES`], but never none for that.
    pub fn claim(
        &mut self,
        now: Micros,
        worker: &str,
        queues: Option<&[Name]>,
        limit: usize,
        lock_timeout: Option<Micros>,
    ) -> Vec<Claimed> {
        let mut claimed = Vec::new();
        self.claim_each(now, worker, queues, limit, lock_timeout, |job, lock, fit| {
            if claimed.capacity() == 0 {
                claimed.reserve_exact(fit);
            }
            claimed.push(Claimed { job: job.clone(), lock });
        });
        claimed
    }

    /// One claim, without a list.
    pub fn claim_one(
        &mut self,
        now: Micros,
        worker: &str,
        queues: Option<&[Name]>,
        lock_timeout: Option<Micros>,
    ) -> Option<Claimed> {
        let mut claimed = None;
        self.claim_each(now, worker, queues, 1, lock_timeout, |job, lock, _| {
            claimed = Some(Claimed { job: job.clone(), lock });
        });
        claimed
    }

    /// Shows each claimed job, with its lock and the number that it is one of at the most.
    #[inline]
    fn claim_each(
        &mut self,
        now: Micros,
        worker: &str,
        queues: Option<&[Name]>,
        limit: usize,
        lock_timeout: Option<Micros>,
        mut out: impl FnMut(&Job, ClaimLock, usize),
    ) {
        self.set_now(now);
        if limit == 0 {
            return;
        }
        let budget = TAKEOVER.max(limit);
        self.take_over(budget);
        self.fail_doomed(budget);
        let timeout = lock_timeout.unwrap_or(self.options.lock_timeout);
        if *self.last_worker != *worker {
            self.last_worker = worker.into();
        }
        let worker = &self.last_worker.clone();
        let mut bytes = 0;
        let mut count = 0;
        let fit = self.ready.total().min(limit);
        let mut take = |engine: &mut Self, slot: Slot| -> bool {
            let size = engine.slots.get(slot).map_or(0, |record| record.job.text_len());
            if count > 0 && bytes + size > CLAIM_BYTES {
                return false;
            }
            bytes += size;
            count += 1;
            let lock = engine.claim_slot(slot, worker, timeout);
            if let (Some(lock), Some(record)) = (lock, engine.slots.get(slot)) {
                out(&record.job, lock, fit);
            }
            count < limit
        };
        if let Some(queue) = self.ready.only(queues) {
            while let Some((_, slot)) = self.ready.first(queue, &self.slots.stamps) {
                if !take(self, slot) {
                    break;
                }
            }
            return;
        }
        let queues = self.ready.busy(queues);
        let mut heads = BinaryHeap::with_capacity(queues.len());
        for queue in queues {
            heads.extend(self.ready.first(queue, &self.slots.stamps).map(|(rank, slot)| Reverse((rank, slot, queue))));
        }
        while let Some(Reverse((_, slot, queue))) = heads.pop() {
            if !take(self, slot) {
                break;
            }
            heads.extend(self.ready.first(queue, &self.slots.stamps).map(|(rank, slot)| Reverse((rank, slot, queue))));
        }
    }

    /// Hands a ready job to a worker \[L1, L4\].
    fn claim_slot(&mut self, slot: Slot, worker: &Name, timeout: Micros) -> Option<ClaimLock> {
        let now = self.now;
        let token = self.next_token();
        let expires_at = now.saturating_add(timeout);
        self.unindex(slot);
        let server_name = self.options.server_name.clone();
        self.set_state(slot, State::Processing { started_at: now, worker_id: worker.clone(), server_name });
        let record = self.slots.get_mut(slot)?;
        if record.claim.is_some() {
            record.job.crash_count = record.job.crash_count.saturating_add(1);
            // The kind has not changed, but this claim began now.
            record.entered_at = now;
        }
        record.claim = Some(Claim { token, expires_at });
        record.job.attempt = record.job.attempt.saturating_add(1);
        record.job.version += 1;
        self.index(slot);
        Some(ClaimLock { token, expires_at, worker_id: worker.clone() })
    }

    /// Moves what has come due, what has lapsed and what an explicit lock no longer holds to where claims look, in order of
    /// their times, `budget` at the most: no call's cost depends on the size of a wave \[Q26\].
    pub(super) fn take_over(&mut self, budget: usize) {
        let now = self.now;
        self.locks.tidy(now, budget);
        for _ in 0..budget {
            let stamps = &self.slots.stamps;
            let heads = [self.due.first(stamps), self.lapse.first(stamps), self.parked.first(stamps)];
            let first = heads.into_iter().flatten().filter(|entry| entry.time <= now).min_by_key(Entry::key);
            let Some(entry) = first else { return };
            self.unindex(entry.slot);
            self.index_available(entry.slot, now);
        }
    }

    /// Fails jobs whose claims have lapsed too often \[L4\]. They are kept whatever `keep_failed` says: somebody has to see
    /// them.
    fn fail_doomed(&mut self, budget: usize) {
        let now = self.now;
        for _ in 0..budget {
            let Some(entry) = self.doomed.first(&self.slots.stamps) else { return };
            self.unindex(entry.slot);
            let Some(record) = self.slots.get_mut(entry.slot) else { return };
            record.job.crash_count = record.job.crash_count.saturating_add(1);
            record.job.version += 1;
            record.claim = None;
            let state = State::Failed {
                failed_at: now,
                exception: clip(&format!("lock lapsed {} times", record.job.crash_count)),
                stack_trace: None,
                retry_count: record.job.retry_count,
            };
            self.set_state(entry.slot, state);
            self.index(entry.slot);
        }
    }

    /// Whether a claim of these queues may succeed now; true also while a wave is not wholly taken over \[Q16, Q26\].
    pub fn may_claim(&mut self, now: Micros, queues: Option<&[Name]>) -> bool {
        self.set_now(now);
        self.take_over(TAKEOVER);
        self.ready.any(queues) || self.next_event().is_some_and(|at| at <= self.now)
    }

    /// When the next job comes due or lapses, or the next explicit lock ends.
    pub fn next_event(&mut self) -> Option<Micros> {
        let stamps = &self.slots.stamps;
        let heads = [self.due.first(stamps), self.lapse.first(stamps), self.parked.first(stamps)];
        heads.into_iter().flatten().map(|entry| entry.time).min()
    }

    /// Stored jobs of a kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> u64 {
        self.counts[kind as usize]
    }
}
