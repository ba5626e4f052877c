//! The store: records, and every index over them.
//!
//! A record lies in exactly one [`Place`] at a time, which follows from its state, its lock and the explicit lock on its
//! id; `index` and `unindex` are the only functions that move it. Everything else (list order, counts, the id) is
//! independent of the place. `now` never runs backwards inside an engine: each operation goes by the later of the caller's
//! reading and the last one, so that two threads that read the clock in one order and arrive in the other see one time.

mod audit;
mod claim;
mod read;
mod retain;
mod write;

use crate::error::Error;
use crate::job::{ClaimLock, Job, Token};
use crate::locks::Locks;
use crate::name::Name;
use crate::ready::{QueueId, Ready};
use crate::seq_set::SeqSet;
use crate::slots::{HalfHasher, Slot, SlotIndex, Slots};
use crate::state::{Kind, State};
use crate::time::Micros;
use crate::time_queue::{Entry, TimeQueue};

pub use read::{Cursor, Page};

/// The least number of due or lapsed jobs that one claim takes over \[Q26\].
pub const TAKEOVER: usize = 100;

/// The text that one claim returns at most, its first job apart \[Q11\].
pub const CLAIM_BYTES: usize = 16 * 1024 * 1024;

/// How long finished jobs are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Until somebody deletes them.
    #[default]
    Forever,
    /// Not at all: gone in the very step that finishes them.
    Never,
    /// Until `Engine::expire` finds them older than that, in microseconds.
    For(Micros),
}

/// What an engine is told once.
#[derive(Clone, Debug)]
pub struct Options {
    /// Length of a claim lock that nobody asked a length for, in microseconds.
    pub lock_timeout: Micros,
    /// At that many lapses a job fails instead of being handed on, 1 or more.
    pub max_crashes: u32,
    /// What claims write into the state.
    pub server_name: Name,
    /// How many jobs fit.
    pub max_jobs: Option<usize>,
    /// Whether finished jobs make room for new ones.
    pub auto_cleanup: bool,
    /// Retention of succeeded, failed and deleted jobs.
    pub keep: [Keep; 3],
    /// Seed of the hash tables; random where ids come from strangers.
    pub hash_seed: u64,
}

/// What an accepted write made of a job: the attributes that go back into the caller's object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of `Job`")]
pub struct Accepted {
    pub version: u64,
    pub sequence: u64,
    pub attempt: u32,
    pub crash_count: u32,
    pub retry_count: u32,
    /// The claim that the write took or kept.
    pub lock: Option<ClaimLock>,
}

/// A job given back: what the store made of it, and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Released {
    pub accepted: Accepted,
    pub state: State,
}

/// A job just claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Claimed {
    pub job: Job,
    pub lock: ClaimLock,
}

/// The claim lock of a record; whose it is stands in the state.
#[derive(Clone, Copy, Debug)]
struct Claim {
    token: Token,
    expires_at: Micros,
}

/// What is remembered of the last settlement, so that a repeat after a lost reply can be answered \[L3\].
#[derive(Clone, Copy, Debug)]
struct Trace {
    /// None after a settlement without a lock (an operator's cancel).
    token: Option<Token>,
    version: u64,
    kind: Kind,
}

/// The one index that a record lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// Available: in its queue's claim order.
    Ready,
    /// Scheduled or awaiting retry, in order of its due time.
    Due,
    /// Under a claim, in order of its expiry.
    Lapse,
    /// Lapsed once too often: the next claim makes it failed.
    Doomed,
    /// It would be ready or doomed, but an explicit lock is held on its id: in order of the lock's end.
    Parked,
    /// Finished, in order of the moment.
    Finished,
}

#[derive(Debug)]
struct Record {
    job: Job,
    /// When it came to its present kind, by this store's clock.
    entered_at: Micros,
    /// Its due time, which gives its place in claim order.
    due: Micros,
    claim: Option<Claim>,
    trace: Option<Trace>,
    queue: QueueId,
    stamp: u32,
    place: Place,
}

impl Record {
    fn kind(&self) -> Kind {
        self.job.state.kind()
    }

    fn accepted(&self) -> Accepted {
        Accepted {
            version: self.job.version,
            sequence: self.job.sequence,
            attempt: self.job.attempt,
            crash_count: self.job.crash_count,
            retry_count: self.job.retry_count,
            lock: self.claim_lock(),
        }
    }

    fn claim_lock(&self) -> Option<ClaimLock> {
        let claim = self.claim?;
        let worker_id = self.job.state.worker()?.clone();
        Some(ClaimLock { token: claim.token, expires_at: claim.expires_at, worker_id })
    }
}

/// The three final kinds, as places in arrays.
const FINAL: [Kind; 3] = [Kind::Succeeded, Kind::Failed, Kind::Deleted];

fn final_at(kind: Kind) -> Option<usize> {
    FINAL.iter().position(|&other| other == kind)
}

/// A store of jobs.
#[derive(Debug)]
pub struct Engine {
    options: Options,
    now: Micros,
    last_sequence: u64,
    last_token: u64,
    /// Who claimed last, and most likely claims next: its jobs share one copy of its name.
    last_worker: Name,

    slots: Slots<Record>,
    hasher: HalfHasher,
    by_id: SlotIndex,
    by_sequence: SlotIndex,
    all: SeqSet,
    by_kind: [SeqSet; 7],
    counts: [u64; 7],

    ready: Ready,
    due: TimeQueue,
    lapse: TimeQueue,
    doomed: TimeQueue,
    parked: TimeQueue,
    finished: [TimeQueue; 3],
    locks: Locks,

    /// The queues in which jobs became ready since the last look, while somebody watches.
    risen: Option<Vec<Name>>,
}

impl Engine {
    /// An empty store.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            hasher: HalfHasher::new(options.hash_seed),
            ready: Ready::new(options.hash_seed),
            options,
            now: 0,
            last_sequence: 0,
            last_token: 0,
            last_worker: Name::default(),
            slots: Slots::default(),
            by_id: SlotIndex::default(),
            by_sequence: SlotIndex::default(),
            all: SeqSet::default(),
            by_kind: Default::default(),
            counts: [0; 7],
            due: TimeQueue::default(),
            lapse: TimeQueue::default(),
            doomed: TimeQueue::default(),
            parked: TimeQueue::default(),
            finished: Default::default(),
            locks: Locks::default(),
            risen: None,
        }
    }

    /// How many jobs are stored.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether no job is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the engine was told.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Removes every job and lock. Sequences and tokens go on, so that nothing given out before can be taken for new.
    pub fn clear(&mut self) {
        self.slots = Slots::default();
        self.by_id.clear();
        self.by_sequence.clear();
        self.all.clear();
        self.by_kind.iter_mut().for_each(SeqSet::clear);
        self.counts = [0; 7];
        self.ready.clear();
        for queue in
            [&mut self.due, &mut self.lapse, &mut self.doomed, &mut self.parked].into_iter().chain(&mut self.finished)
        {
            queue.clear();
        }
        self.locks.clear();
    }

    /// Whether somebody wants to know which queues jobs become ready in.
    pub fn watch(&mut self, watch: bool) {
        match (&self.risen, watch) {
            (None, true) => self.risen = Some(Vec::new()),
            (Some(_), false) => self.risen = None,
            _ => {}
        }
    }

    /// The queue of each job that became ready since the last call, while watched.
    pub fn take_risen(&mut self) -> Vec<Name> {
        self.risen.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn set_now(&mut self, now: Micros) {
        self.now = self.now.max(now);
    }

    fn find(&self, id: &str) -> Option<Slot> {
        self.find_hashed(self.hasher.half(id), id)
    }

    fn find_hashed(&self, half: u32, id: &str) -> Option<Slot> {
        self.by_id.find(half, |slot| self.slots.get(slot).is_some_and(|record| record.job.body.id() == id))
    }

    fn find_sequence(&self, sequence: u64) -> Option<Slot> {
        let half = self.hasher.half(sequence);
        self.by_sequence.find(half, |slot| self.slots.get(slot).is_some_and(|record| record.job.sequence == sequence))
    }

    /// The record of an id, or the error that says there is none.
    fn slot_of(&self, id: &str) -> Result<Slot, Error> {
        self.find(id).ok_or_else(|| Error::NotFound { id: id.into() })
    }

    /// A token above every one given out before, also under a clock that stands still or was set back \[L2\].
    fn next_token(&mut self) -> Token {
        let floor = u64::try_from(self.now).unwrap_or(0).max(1);
        self.last_token = self.last_token.saturating_add(1).max(floor);
        Token::new(self.last_token).unwrap_or(Token::MIN)
    }

    /// Adds a record that `enqueue` has checked; `half` is the hash of its id.
    fn insert(&mut self, mut record: Record, half: u32) {
        let sequence = record.job.sequence;
        let kind = record.kind();
        record.queue = self.ready.hold(&mut record.job.queue);
        let slot = self.slots.insert(record);
        self.by_id.insert(half, slot);
        self.by_sequence.insert(self.hasher.half(sequence), slot);
        self.all.insert(sequence);
        self.by_kind[kind as usize].insert(sequence);
        self.counts[kind as usize] += 1;
        self.index(slot);
    }

    /// Removes a record and everything that names it. An explicit lock on the id stays: see `delete`.
    fn remove(&mut self, slot: Slot) {
        self.unindex(slot);
        let Some(record) = self.slots.remove(slot) else { return };
        let sequence = record.job.sequence;
        let kind = record.kind();
        self.by_id.remove(self.hasher.half(record.job.body.id()), slot);
        self.by_sequence.remove(self.hasher.half(sequence), slot);
        self.all.remove(sequence);
        self.by_kind[kind as usize].remove(sequence);
        self.counts[kind as usize] -= 1;
        self.ready.let_go(record.queue);
    }

    /// Puts a record into the index that its state asks for.
    fn index(&mut self, slot: Slot) {
        let now = self.now;
        let Some(record) = self.slots.get(slot) else { return };
        let kind = record.kind();
        match kind {
            Kind::Enqueued => self.index_available(slot, now),
            Kind::Processing => {
                let expires_at = record.claim.map_or(record.due, |claim| claim.expires_at);
                let entry = self.enter(slot, Place::Lapse, expires_at);
                self.lapse.push(entry, &self.slots.stamps);
            }
            Kind::Scheduled | Kind::AwaitingRetry => {
                let due = record.due;
                let entry = self.enter(slot, Place::Due, due);
                self.due.push(entry, &self.slots.stamps);
            }
            Kind::Succeeded | Kind::Failed | Kind::Deleted => {
                let entered_at = record.entered_at;
                let entry = self.enter(slot, Place::Finished, entered_at);
                if let Some(at) = final_at(kind) {
                    self.finished[at].push(entry, &self.slots.stamps);
                }
            }
        }
        self.call_for_unnoticed(slot);
    }

    /// Calls for a waiter where a write leaves a job that is due or lapsed already: it is available from now on, although no
    /// claim has noticed it yet [Q16, Q23].
    fn call_for_unnoticed(&mut self, slot: Slot) {
        let now = self.now;
        let Some(risen) = &mut self.risen else { return };
        let Some(record) = self.slots.get(slot) else { return };
        let from = match record.place {
            Place::Due => record.due,
            Place::Lapse => record.claim.map_or(record.due, |claim| claim.expires_at),
            Place::Ready | Place::Doomed | Place::Parked | Place::Finished => return,
        };
        if from <= now && self.locks.holder(record.job.body.id(), now).is_none() {
            risen.push(record.job.queue.clone());
        }
    }

    /// Puts a record that nothing but an explicit lock can keep from being claimed where it belongs: an enqueued one, or
    /// one that a take-over found due or lapsed.
    fn index_available(&mut self, slot: Slot, now: Micros) {
        let Some(record) = self.slots.get(slot) else { return };
        let (queue, priority, due) = (record.queue, record.job.priority, record.due);
        let lapsed_at = record.claim.map(|claim| claim.expires_at);
        let doomed = lapsed_at.is_some() && record.job.crash_count + 1 >= self.options.max_crashes;
        if let Some(end) = self.locks.end(record.job.body.id(), now) {
            let entry = self.enter(slot, Place::Parked, end);
            self.parked.push(entry, &self.slots.stamps);
        } else if doomed {
            let entry = self.enter(slot, Place::Doomed, lapsed_at.unwrap_or(due));
            self.doomed.push(entry, &self.slots.stamps);
        } else {
            let entry = self.enter(slot, Place::Ready, due);
            self.ready.push(queue, priority, entry, &self.slots.stamps);
            if let Some(risen) = &mut self.risen
                && let Some(name) = self.ready.name(queue)
            {
                risen.push(name.clone());
            }
        }
    }

    /// Marks a record as lying in `place`, and makes the entry that says so.
    fn enter(&mut self, slot: Slot, place: Place, time: Micros) -> Entry {
        let stamp = self.slots.stamps.bump(slot);
        let sequence = self.slots.get_mut(slot).map_or(0, |record| {
            record.place = place;
            record.stamp = stamp;
            record.job.sequence
        });
        Entry { time, sequence, slot, stamp }
    }

    /// Takes a record out of the index that it lies in; `index` or `remove` follows.
    fn unindex(&mut self, slot: Slot) {
        self.slots.stamps.bump(slot);
        let Some(record) = self.slots.get(slot) else { return };
        let stamps = &self.slots.stamps;
        match record.place {
            Place::Ready => self.ready.forget(record.queue, record.job.priority, stamps),
            Place::Due => self.due.forget(stamps),
            Place::Lapse => self.lapse.forget(stamps),
            Place::Doomed => self.doomed.forget(stamps),
            Place::Parked => self.parked.forget(stamps),
            Place::Finished => {
                if let Some(at) = final_at(record.kind()) {
                    self.finished[at].forget(stamps);
                }
            }
        }
    }

    /// Changes the state of a record that is out of its index, with the list order and counts that hang on its kind.
    fn set_state(&mut self, slot: Slot, state: State) {
        let now = self.now;
        let Some(record) = self.slots.get_mut(slot) else { return };
        let (from, to) = (record.kind(), state.kind());
        record.job.state = state;
        if from != to {
            record.entered_at = now;
            let sequence = record.job.sequence;
            self.by_kind[from as usize].remove(sequence);
            self.by_kind[to as usize].insert(sequence);
            self.counts[from as usize] -= 1;
            self.counts[to as usize] += 1;
        }
    }

    /// Lets go of the job of an id whose explicit lock has been freed.
    fn unpark(&mut self, id: &str) {
        let Some(slot) = self.find(id) else { return };
        if self.slots.get(slot).is_some_and(|record| record.place == Place::Parked) {
            self.unindex(slot);
            self.index_available(slot, self.now);
        } else {
            self.call_for_unnoticed(slot);
        }
    }
}
