//! The contract as plain lists: every rule is a scan over all records, nothing is indexed and nothing is clever.
//!
//! It is written from the text of the contract, whose ids stand in brackets, and shares with the engine only the values
//! that callers see. Tokens are the one thing that it cannot foretell: it is offered those that the engine gave out, and
//! checks that they grow \[L2\].

mod claims;
mod hits;
mod keep;
mod locks;

use std::collections::VecDeque;

use ferroq_core::{Accepted, ClaimLock, Error, Job, Kind, Micros, Name, Options, State, Text, Token};

pub(crate) use hits::{Branch, Hits};

#[derive(Clone, Copy)]
struct Claim {
    token: Token,
    expires_at: Micros,
}

/// The last settlement; no token after a settlement without a lock.
struct Trace {
    token: Option<Token>,
    kind: Kind,
    version: u64,
}

struct Record {
    job: Job,
    entered_at: Micros,
    due: Micros,
    claim: Option<Claim>,
    trace: Option<Trace>,
    /// Whether a claim has noticed that it is due or lapsed \[Q26\].
    found: bool,
    /// Enqueued or found, but not noticed as free before the end of the explicit lock that was seen on it.
    parked_until: Option<Micros>,
}

impl Record {
    fn id(&self) -> &str {
        self.job.body.id()
    }

    fn kind(&self) -> Kind {
        self.job.state.kind()
    }

    /// The time by which it takes its place in a wave; None where no claim has to notice anything.
    fn event(&self) -> Option<Micros> {
        match self.kind() {
            Kind::Succeeded | Kind::Failed | Kind::Deleted => None,
            Kind::Processing if !self.found => self.claim.map(|claim| claim.expires_at),
            Kind::Scheduled | Kind::AwaitingRetry if !self.found => Some(self.due),
            _ => self.parked_until,
        }
    }

    fn accepted(&self) -> Accepted {
        Accepted {
            version: self.job.version,
            sequence: self.job.sequence,
            attempt: self.job.attempt,
            crash_count: self.job.crash_count,
            retry_count: self.job.retry_count,
            lock: None,
        }
    }

    /// The claim as its holder sees it.
    fn lock(&self) -> Option<ClaimLock> {
        let State::Processing { worker_id, .. } = &self.job.state else { return None };
        let Claim { token, expires_at } = self.claim?;
        Some(ClaimLock { token, expires_at, worker_id: worker_id.clone() })
    }

    fn is_live(&self, now: Micros) -> bool {
        self.claim.is_some_and(|claim| now < claim.expires_at)
    }
}

struct Explicit {
    id: Text,
    worker: Name,
    expires_at: Micros,
}

pub(crate) struct Model {
    options: Options,
    now: Micros,
    last_sequence: u64,
    last_token: u64,
    /// In order of sequence.
    records: Vec<Record>,
    locks: Vec<Explicit>,
    offered: VecDeque<Token>,
    pub(crate) complaints: Vec<String>,
    pub(crate) hits: Hits,
}

impl Model {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            now: 0,
            last_sequence: 0,
            last_token: 0,
            records: Vec::new(),
            locks: Vec::new(),
            offered: VecDeque::new(),
            complaints: Vec::new(),
            hits: Hits::default(),
        }
    }

    /// The tokens in the engine's answer to the operation that follows.
    pub(crate) fn offer(&mut self, tokens: impl IntoIterator<Item = Token>) {
        self.offered.clear();
        self.offered.extend(tokens);
    }

    /// The clock of a store never runs backwards.
    fn tick(&mut self, now: Micros) {
        self.now = self.now.max(now);
    }

    pub(crate) fn now(&self) -> Micros {
        self.now
    }

    fn hit(&mut self, branch: Branch) {
        self.hits.count(branch);
    }

    fn hit_if(&mut self, reached: bool, branch: Branch) {
        if reached {
            self.hit(branch);
        }
    }

    fn next_token(&mut self) -> Token {
        let Some(token) = self.offered.pop_front() else {
            self.complaints.push("the engine took no claim where the contract takes one".to_owned());
            return Token::MIN;
        };
        if token.get() <= self.last_token {
            self.complaints.push(format!("token {token} came after {}", self.last_token));
        }
        self.last_token = token.get();
        token
    }

    fn at(&self, id: &str) -> Option<usize> {
        self.records.iter().position(|record| record.id() == id)
    }

    /// The live explicit lock on an id.
    fn explicit(&self, id: &str) -> Option<&Explicit> {
        self.locks.iter().find(|lock| *lock.id == *id && self.now < lock.expires_at)
    }

    /// Whether the state's worker is kept from the job by another worker's explicit lock \[L1\].
    fn check_explicit(&mut self, job: &Job) -> Result<(), Error> {
        let State::Processing { worker_id, .. } = &job.state else { return Ok(()) };
        let id = job.body.id();
        let holder = self.explicit(id).map(|lock| lock.worker.clone());
        self.hit_if(holder.as_ref() == Some(worker_id), Branch::ProcessingUnderOwnExplicit);
        if holder.is_some_and(|holder| holder != *worker_id) {
            self.hit(Branch::LockedByExplicit);
            return Err(Error::Locked { id: id.into(), explicit: true });
        }
        Ok(())
    }

    /// After every accepted change: what claims have to notice begins anew.
    fn place(&mut self, at: usize) {
        let parked_until = self.explicit(self.records[at].id()).map(|lock| lock.expires_at);
        let record = &mut self.records[at];
        record.found = false;
        record.parked_until = parked_until;
    }

    /// [Q1]
    pub(crate) fn enqueue(&mut self, now: Micros, job: &Job) -> Result<Accepted, Error> {
        self.tick(now);
        let id = job.body.id();
        if self.at(id).is_some() {
            let full = self.options.max_jobs.is_some_and(|max| self.records.len() >= max);
            self.hit_if(full, Branch::ExistsInFullStore);
            self.hit(Branch::Exists);
            return Err(Error::AlreadyExists { ids: vec![id.into()] });
        }
        self.check_explicit(job)?;
        let needed = usize::from(!self.vanishes(job.state.kind()));
        self.make_room(needed)?;
        Ok(self.store(job))
    }

    /// [Q12]: one chunk, all or nothing.
    pub(crate) fn enqueue_chunk(
        &mut self,
        now: Micros,
        jobs: &[Job],
        skip: bool,
    ) -> Result<Vec<Option<Accepted>>, Error> {
        self.tick(now);
        let exists = |at: usize| {
            let id = jobs[at].body.id();
            self.at(id).is_some() || jobs[..at].iter().any(|job| job.body.id() == id)
        };
        let existing: Vec<bool> = (0..jobs.len()).map(exists).collect();
        let ids: Vec<Text> = (0..jobs.len()).filter(|&at| existing[at]).map(|at| jobs[at].body.id().into()).collect();
        self.hit_if(ids.iter().any(|id| self.at(id).is_none()), Branch::TwiceInOneChunk);
        if !skip && !ids.is_empty() {
            self.hit(Branch::ChunkRefused);
            return Err(Error::AlreadyExists { ids });
        }
        self.hit_if(!ids.is_empty(), Branch::ChunkSkipped);
        let fresh: Vec<&Job> = (0..jobs.len()).filter(|&at| !existing[at]).map(|at| &jobs[at]).collect();
        for job in &fresh {
            self.check_explicit(job)?;
        }
        let needed = fresh.iter().filter(|job| !self.vanishes(job.state.kind())).count();
        self.make_room(needed)?;
        Ok((0..jobs.len()).map(|at| (!existing[at]).then(|| self.store(&jobs[at]))).collect())
    }

    fn store(&mut self, job: &Job) -> Accepted {
        let now = self.now;
        let kind = job.state.kind();
        self.last_sequence += 1;
        let claim = (kind == Kind::Processing)
            .then(|| Claim { token: self.next_token(), expires_at: now + self.options.lock_timeout });
        let mut record = Record {
            job: job.clone(),
            entered_at: now,
            due: own_due(&job.state).unwrap_or(now),
            claim,
            trace: None,
            found: false,
            parked_until: None,
        };
        record.job.sequence = self.last_sequence;
        record.job.version = 1;
        record.job.attempt = u32::from(kind == Kind::Processing);
        record.job.crash_count = 0;
        record.job.retry_count = own_retry_count(&job.state).unwrap_or(0);
        let accepted = Accepted { lock: record.lock(), ..record.accepted() };
        if self.vanishes(kind) {
            self.hit(Branch::EnqueueVanished);
            self.locks.retain(|lock| *lock.id != *job.body.id());
            return accepted;
        }
        self.records.push(record);
        self.place(self.records.len() - 1);
        self.hit_if(kind == Kind::Processing, Branch::EnqueuedProcessing);
        self.hit_if(own_due(&job.state).is_some_and(|due| due <= now), Branch::EnqueuedAlreadyDue);
        accepted
    }

    /// [Q3], [L3]: the steps in their order.
    pub(crate) fn update(&mut self, now: Micros, job: &Job, held: Option<Token>) -> Result<Accepted, Error> {
        self.tick(now);
        let id = job.body.id();
        let to = job.state.kind();
        let Some(at) = self.at(id) else {
            self.hit(Branch::NotFound);
            return Err(Error::NotFound { id: id.into() });
        };
        let stored = &self.records[at];
        let processing = stored.kind() == Kind::Processing;
        let live = processing && stored.is_live(self.now);
        let found = stored.found;
        if let Some(token) = held {
            let holds = processing && stored.claim.is_some_and(|claim| claim.token == token);
            if holds {
                self.hit(if live { Branch::HeldLive } else { Branch::HeldLapsed });
                self.hit_if(found, Branch::HeldLapsedFound);
                self.hit_if(to == Kind::Processing, Branch::HeldStaysProcessing);
                self.hit_if(job.version != self.records[at].job.version, Branch::HeldWithOldVersion);
                return Ok(self.replace(at, job, held));
            }
            if let Some(accepted) = self.repeat(at, token, to) {
                self.hit(Branch::UpdateRepeated);
                return Ok(accepted);
            }
            self.hit(Branch::LockLost);
            self.hit_if(processing, Branch::LockLostToSuccessor);
            return Err(Error::LockLost { id: id.into() });
        }
        if live && to != Kind::Deleted {
            self.hit(Branch::LockedByClaim);
            return Err(Error::Locked { id: id.into(), explicit: false });
        }
        if job.version != stored.job.version {
            let stored = stored.job.version;
            self.hit(if live { Branch::StaleCancel } else { Branch::Stale });
            return Err(Error::ConcurrentModification { id: id.into(), given: job.version, stored });
        }
        if !processing {
            self.check_explicit(job)?;
        }
        self.hit_if(live, Branch::Cancelled);
        self.hit_if(processing && !live && to != Kind::Processing, Branch::LapsedSettledUnlocked);
        self.hit_if(processing && to == Kind::Processing, Branch::LapsedChangedUnlocked);
        Ok(self.replace(at, job, None))
    }

    /// [L3] 2b: the answer to a repeat of the last settlement.
    fn repeat(&mut self, at: usize, token: Token, to: Kind) -> Option<Accepted> {
        let record = &self.records[at];
        let trace = record.trace.as_ref().filter(|trace| trace.token == Some(token))?;
        if trace.kind != to {
            self.hit(Branch::RepeatToAnotherKind);
            return None;
        }
        let accepted = Accepted { version: trace.version, ..record.accepted() };
        let (processing, moved_on) = (record.kind() == Kind::Processing, trace.version != record.job.version);
        self.hit_if(processing, Branch::RepeatedUnderSuccessor);
        self.hit_if(moved_on, Branch::RepeatedAfterChange);
        Some(accepted)
    }

    /// [L3] 5.
    fn replace(&mut self, at: usize, new: &Job, held: Option<Token>) -> Accepted {
        let now = self.now;
        let (from, to) = (self.records[at].kind(), new.state.kind());
        let takes = to == Kind::Processing && from != Kind::Processing;
        let new_claim = takes.then(|| Claim { token: self.next_token(), expires_at: now + self.options.lock_timeout });
        let vanishes = from != to && self.vanishes(to);
        let moved = self.records[at].job.queue != new.queue;
        let reset = from == Kind::Failed && to == Kind::Enqueued;
        let record = &mut self.records[at];
        let had = (record.job.crash_count, record.job.retry_count);
        record.job.state = new.state.clone();
        record.job.queue = new.queue.clone();
        record.job.priority = new.priority;
        record.job.max_retries = new.max_retries;
        record.job.extras.clone_from(&new.extras);
        record.job.version += 1;
        if let Some(due) = own_due(&new.state) {
            record.due = due;
        } else if to == Kind::Enqueued && from != Kind::Enqueued {
            record.due = now;
        }
        if let Some(count) = own_retry_count(&new.state) {
            record.job.retry_count = count;
        }
        if reset {
            (record.job.crash_count, record.job.retry_count) = (0, 0);
        }
        if from != to {
            record.entered_at = now;
        }
        if takes {
            record.claim = new_claim;
            record.job.attempt += 1;
        } else if to != Kind::Processing {
            record.claim = None;
        }
        if from == Kind::Processing && to != Kind::Processing {
            record.trace = Some(Trace { token: held, kind: to, version: record.job.version });
        }
        // Only who made the claim, or holds it, is told its token [J11, L2].
        let lock = if takes || held.is_some() { record.lock() } else { None };
        let accepted = Accepted { lock, ..record.accepted() };
        self.place(at);
        self.hit_if(takes, Branch::ClaimedByUpdate);
        self.hit_if(moved, Branch::QueueChanged);
        self.hit_if(reset && had.0 > 0, Branch::CrashesReset);
        self.hit_if(reset && had.1 > 0, Branch::RetriesReset);
        if vanishes {
            self.hit(Branch::UpdateVanished);
            self.erase(at);
        }
        accepted
    }

    /// [Q4]
    pub(crate) fn delete(&mut self, now: Micros, id: &str) -> bool {
        self.tick(now);
        let Some(at) = self.at(id) else { return false };
        self.hit_if(self.records[at].is_live(self.now), Branch::DeletedUnderClaim);
        self.hit_if(self.explicit(id).is_some(), Branch::DeletedUnderExplicit);
        self.erase(at);
        true
    }

    /// A job goes with its locks of both kinds.
    fn erase(&mut self, at: usize) {
        let record = self.records.remove(at);
        self.locks.retain(|lock| *lock.id != *record.id());
    }

    /// Everything goes; numbers given out are not given out again.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.locks.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// [Q5]: newest first.
    pub(crate) fn list(&self, kind: Option<Kind>, queue: Option<&Name>, below: u64) -> impl Iterator<Item = &Job> {
        self.records
            .iter()
            .rev()
            .map(|record| &record.job)
            .filter(move |job| job.sequence < below)
            .filter(move |job| kind.is_none_or(|kind| job.state.kind() == kind))
            .filter(move |job| queue.is_none_or(|queue| job.queue == *queue))
    }

    /// [Q6]
    pub(crate) fn counts(&self) -> [u64; 7] {
        Kind::ALL.map(|kind| self.list(Some(kind), None, u64::MAX).count() as u64)
    }
}

/// The time that a state names for itself.
fn own_due(state: &State) -> Option<Micros> {
    match state {
        State::Scheduled { enqueue_at, .. } => Some(*enqueue_at),
        State::AwaitingRetry { retry_at, .. } => Some(*retry_at),
        _ => None,
    }
}

fn own_retry_count(state: &State) -> Option<u32> {
    match state {
        State::Failed { retry_count, .. } | State::AwaitingRetry { retry_count, .. } => Some(*retry_count),
        _ => None,
    }
}
