//! Writes that do not claim: enqueue, update, delete, release, renewal and explicit locks.

use super::{Accepted, Claim, Engine, FINAL, Keep, Place, Record, Released, Trace, final_at};
use crate::error::Error;
use crate::job::{Job, Token};
use crate::name::{Name, Text};
use crate::slots::{Slot, SlotIndex};
use crate::state::{Kind, State};
use crate::time::Micros;

impl Engine {
    /// Stores a new job \[Q1\]; the attributes that the store counts are set here, whatever the object shows.
    ///
    /// # Errors
    /// `AlreadyExists`, `Locked`, `Capacity`.
    pub fn enqueue(&mut self, now: Micros, job: Job) -> Result<Accepted, Error> {
        self.set_now(now);
        let id = job.body.id();
        let half = self.hasher.half(id);
        if self.find_hashed(half, id).is_some() {
            return Err(Error::AlreadyExists { ids: vec![id.into()] });
        }
        self.check_explicit(&job)?;
        if !self.vanishes(job.state.kind()) {
            self.make_room(1)?;
        }
        Ok(self.store(job, half))
    }

    /// Stores a chunk, all or nothing \[Q12\]. With `skip`, jobs whose id exists are left out and have None in their place.
    ///
    /// # Errors
    /// As `enqueue`; `AlreadyExists` names every such id.
    pub fn enqueue_chunk(&mut self, now: Micros, jobs: Vec<Job>, skip: bool) -> Result<Vec<Option<Accepted>>, Error> {
        self.set_now(now);
        // The hash of each id that is new; each is taken once. Here the slots are places in the chunk.
        let mut fresh: Vec<Option<u32>> = Vec::with_capacity(jobs.len());
        let mut seen = SlotIndex::with_capacity(jobs.len());
        for (at, job) in (0..).zip(&jobs) {
            let id = job.body.id();
            let half = self.hasher.half(id);
            let is_new = self.find_hashed(half, id).is_none()
                && seen.find(half, |other| jobs[other as usize].body.id() == id).is_none();
            if is_new {
                seen.insert(half, at);
            }
            fresh.push(is_new.then_some(half));
        }
        let chosen = || jobs.iter().zip(&fresh).filter(|(_, fresh)| fresh.is_some()).map(|(job, _)| job);
        if !skip && fresh.contains(&None) {
            let taken = jobs.iter().zip(&fresh).filter(|(_, fresh)| fresh.is_none());
            return Err(Error::AlreadyExists { ids: taken.map(|(job, _)| job.body.id().into()).collect() });
        }
        for job in chosen() {
            self.check_explicit(job)?;
        }
        let stay = chosen().filter(|job| !self.vanishes(job.state.kind())).count();
        self.make_room(stay)?;
        let mut stored = Vec::with_capacity(jobs.len());
        let mut fresh = fresh.into_iter();
        // Not zipped: a pair of a job and its hash would be one more copy of the job.
        for job in jobs {
            stored.push(fresh.next().flatten().map(|half| self.store(job, half)));
        }
        Ok(stored)
    }

    /// A Processing job must not come in under another worker's explicit lock \[L1\].
    fn check_explicit(&self, job: &Job) -> Result<(), Error> {
        let Some(worker) = job.state.worker() else { return Ok(()) };
        match self.locks.holder(job.body.id(), self.now) {
            Some(holder) if holder != worker => Err(Error::Locked { id: job.body.id().into(), explicit: true }),
            _ => Ok(()),
        }
    }

    /// Whether a job that comes to this kind is not kept at all \[C1\].
    fn vanishes(&self, kind: Kind) -> bool {
        final_at(kind).is_some_and(|at| self.options.keep[at] == Keep::Never)
    }

    /// Everything has been checked: nothing below can fail. `half` is the hash of the id.
    fn store(&mut self, job: Job, half: u32) -> Accepted {
        let now = self.now;
        let kind = job.state.kind();
        self.last_sequence += 1;
        let claim = (kind == Kind::Processing).then(|| self.default_claim());
        let record = Record {
            entered_at: now,
            due: job.state.own_due().unwrap_or(now),
            claim,
            trace: None,
            queue: 0,
            stamp: 0,
            place: Place::Parked,
            job: Job {
                sequence: self.last_sequence,
                version: 1,
                attempt: u32::from(kind == Kind::Processing),
                crash_count: 0,
                retry_count: job.state.own_retry_count().unwrap_or(0),
                ..job
            },
        };
        let accepted = record.accepted();
        if self.vanishes(kind) {
            // Deleted in this very step, and the explicit lock with it.
            self.locks.free(record.job.body.id());
        } else {
            self.insert(record, half);
        }
        accepted
    }

    /// The claim that `enqueue` and `update` take.
    fn default_claim(&mut self) -> Claim {
        Claim { token: self.next_token(), expires_at: self.now.saturating_add(self.options.lock_timeout) }
    }

    /// Replaces a record \[Q3\]; `held` is the token of the claim that the caller's object holds. The order of the checks is
    /// that of L3.
    ///
    /// # Errors
    /// `NotFound`, `LockLost`, `Locked`, `ConcurrentModification`.
    pub fn update(&mut self, now: Micros, job: &Job, held: Option<Token>) -> Result<Accepted, Error> {
        self.set_now(now);
        let id = job.body.id();
        let slot = self.slot_of(id)?;
        let Some(record) = self.slots.get(slot) else { return Err(Error::NotFound { id: id.into() }) };
        let (from, to) = (record.kind(), job.state.kind());
        if let Some(token) = held {
            let holds = from == Kind::Processing && record.claim.is_some_and(|claim| claim.token == token);
            if !holds {
                return match record.trace {
                    Some(trace) if trace.token == Some(token) && trace.kind == to => {
                        Ok(Accepted { version: trace.version, lock: None, ..record.accepted() })
                    }
                    _ => Err(Error::LockLost { id: id.into() }),
                };
            }
        } else {
            let live = from == Kind::Processing && record.claim.is_some_and(|claim| self.now < claim.expires_at);
            if live && to != Kind::Deleted {
                return Err(Error::Locked { id: id.into(), explicit: false });
            }
            if job.version != record.job.version {
                return Err(Error::ConcurrentModification {
                    id: id.into(),
                    given: job.version,
                    stored: record.job.version,
                });
            }
            if from != Kind::Processing {
                self.check_explicit(job)?;
            }
        }
        Ok(self.replace(slot, job, held))
    }

    /// Step 5 of L3: everything has been checked.
    fn replace(&mut self, slot: Slot, job: &Job, held: Option<Token>) -> Accepted {
        let now = self.now;
        let to = job.state.kind();
        self.unindex(slot);
        let moved = self.slots.get(slot).filter(|record| record.job.queue != job.queue).map(|record| record.queue);
        let queue = moved.map(|old| {
            let mut name = job.queue.clone();
            let new = self.ready.hold(&mut name);
            self.ready.let_go(old);
            (new, name)
        });
        let fresh = self.slots.get(slot).is_some_and(|record| record.kind() != Kind::Processing);
        let claim = (to == Kind::Processing && fresh).then(|| self.default_claim());
        let Some(record) = self.slots.get_mut(slot) else { return unreachable_record() };
        let from = record.kind();
        if let Some((queue, name)) = queue {
            record.queue = queue;
            record.job.queue = name;
        }
        record.job.priority = job.priority;
        record.job.max_retries = job.max_retries;
        record.job.extras.clone_from(&job.extras);
        record.job.version += 1;
        if let Some(due) = job.state.own_due() {
            record.due = due;
        } else if to == Kind::Enqueued && from != Kind::Enqueued {
            record.due = now;
        }
        if from == Kind::Failed && to == Kind::Enqueued {
            record.job.crash_count = 0;
            record.job.retry_count = 0;
        }
        if let Some(count) = job.state.own_retry_count() {
            record.job.retry_count = count;
        }
        if claim.is_some() {
            record.claim = claim;
            record.job.attempt = record.job.attempt.saturating_add(1);
        } else if to != Kind::Processing {
            record.claim = None;
        }
        if from == Kind::Processing && to != Kind::Processing {
            record.trace = Some(Trace { token: held, version: record.job.version, kind: to });
        }
        self.set_state(slot, job.state.clone());
        let mut accepted = self.slots.get(slot).map_or_else(unreachable_record, Record::accepted);
        if held.is_none() && claim.is_none() {
            // A lapsed claim that stays is still somebody else's: its token is not told [J11].
            accepted.lock = None;
        }
        if from != to && self.vanishes(to) {
            // Out of its index already: indexing it only to take it out again keeps `remove` the one way out.
            self.index(slot);
            self.erase(slot);
        } else {
            self.index(slot);
        }
        accepted
    }

    /// Hard delete with the job's locks \[Q4\]; false where there is no such job.
    pub fn delete(&mut self, now: Micros, id: &str) -> bool {
        self.set_now(now);
        let found = self.find(id);
        if let Some(slot) = found {
            self.erase(slot);
        }
        found.is_some()
    }

    /// Removes a record together with the explicit lock on its id.
    pub(super) fn erase(&mut self, slot: Slot) {
        if let Some(record) = self.slots.get(slot) {
            self.locks.free(record.job.body.id());
        }
        self.remove(slot);
    }

    /// Gives a claim back unspent, by token \[Q15\]: Enqueued again, or Scheduled behind `delay`. None where the claim is
    /// lost. A repeat of the last settlement under this token and to the same kind is answered as the first call was.
    pub fn release(&mut self, now: Micros, id: &str, token: Token, delay: Option<Micros>) -> Option<Released> {
        self.set_now(now);
        let now = self.now;
        let state = match delay.filter(|&delay| delay > 0) {
            Some(delay) => State::Scheduled {
                scheduled_at: now,
                enqueue_at: now.saturating_add(delay).min(crate::time::MAX_TIME),
                reason: "released".into(),
            },
            None => State::Enqueued { enqueued_at: now },
        };
        let to = state.kind();
        let slot = self.find(id)?;
        let record = self.slots.get(slot)?;
        if record.kind() != Kind::Processing || record.claim.is_none_or(|claim| claim.token != token) {
            let trace = record.trace.filter(|trace| trace.token == Some(token) && trace.kind == to)?;
            let state = if record.kind() == to { record.job.state.clone() } else { state };
            return Some(Released {
                accepted: Accepted { version: trace.version, lock: None, ..record.accepted() },
                state,
            });
        }
        self.give_back(slot, state, Some(token));
        let record = self.slots.get(slot)?;
        Some(Released { accepted: record.accepted(), state: record.job.state.clone() })
    }

    /// Ends a claim without a result. With a token it is a settlement that refunds the attempt; without, it is
    /// `release_job_lock`, which does neither \[L6\].
    fn give_back(&mut self, slot: Slot, state: State, token: Option<Token>) {
        self.unindex(slot);
        if let Some(record) = self.slots.get_mut(slot) {
            record.claim = None;
            record.job.version += 1;
            if let Some(due) = state.own_due() {
                record.due = due;
            }
            if token.is_some() {
                record.job.attempt = record.job.attempt.saturating_sub(1);
                record.trace = Some(Trace { token, version: record.job.version, kind: state.kind() });
            }
        }
        self.set_state(slot, state);
        self.index(slot);
    }

    /// Renews a claim to now + `timeout`, also a lapsed one that nobody has taken over \[Q14\]. The new expiry, or None where
    /// the claim is lost.
    pub fn extend(&mut self, now: Micros, id: &str, token: Token, timeout: Micros) -> Option<Micros> {
        self.set_now(now);
        let expires_at = self.now.saturating_add(timeout);
        let slot = self.find(id)?;
        let record = self.slots.get(slot)?;
        record.claim.filter(|claim| claim.token == token)?;
        self.unindex(slot);
        if let Some(record) = self.slots.get_mut(slot) {
            record.claim = Some(Claim { token, expires_at });
        }
        self.index(slot);
        Some(expires_at)
    }

    /// Locks an id, stored or not, if nobody holds it in either kind \[L5\].
    pub fn try_lock(&mut self, now: Micros, id: &Text, worker: &Name, timeout: Micros) -> bool {
        self.set_now(now);
        let now = self.now;
        if self.locks.holder(id, now).is_some() {
            return false;
        }
        let slot = self.find(id);
        if let Some(record) = slot.and_then(|slot| self.slots.get(slot))
            && record.claim.is_some_and(|claim| now < claim.expires_at)
        {
            return false;
        }
        self.locks.take(id, worker.clone(), now, now.saturating_add(timeout));
        if let Some(slot) = slot
            && self
                .slots
                .get(slot)
                .is_some_and(|record| matches!(record.place, Place::Ready | Place::Doomed | Place::Parked))
        {
            self.unindex(slot);
            self.index_available(slot, now);
        }
        true
    }

    /// Frees the worker's live explicit lock, or else gives back its live claim, attempt kept \[L6\].
    pub fn unlock(&mut self, now: Micros, id: &str, worker: &str) -> bool {
        self.set_now(now);
        let now = self.now;
        if self.locks.holder(id, now).is_some_and(|holder| **holder == *worker) {
            self.locks.free(id);
            self.unpark(id);
            return true;
        }
        let Some(slot) = self.find(id) else { return false };
        let holds = self.slots.get(slot).is_some_and(|record| {
            record.claim.is_some_and(|claim| now < claim.expires_at)
                && record.job.state.worker().is_some_and(|holder| **holder == *worker)
        });
        if holds {
            self.give_back(slot, State::Enqueued { enqueued_at: now }, None);
        }
        holds
    }

    /// Retention of a final kind, by its place in `Options::keep`.
    #[must_use]
    pub fn keep(&self, kind: Kind) -> Option<Keep> {
        FINAL.iter().position(|&other| other == kind).map(|at| self.options.keep[at])
    }
}

/// Only for a slot that the caller has just found: there is always a record in it.
fn unreachable_record() -> Accepted {
    debug_assert!(false, "the slot was found by the caller");
    Accepted { version: 0, sequence: 0, attempt: 0, crash_count: 0, retry_count: 0, lock: None }
}
