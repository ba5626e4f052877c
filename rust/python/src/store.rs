//! `Store`: the memory store behind `MemoryStorage`, one method an operation. Batches are in `bulk`.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ferroq_core::{Accepted, Engine, Error, Job as Record, Keep, Kind, Micros, Options, Text, Token};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyDict, PyList};

use crate::arguments::{self, ANY_SECONDS, MAX_CLAIM};
use crate::clock::{Clock, ManualClock};
use crate::errors::{Blame, Scope, convert, memory, raise, wrong_type};
use crate::job::Job;
use crate::waiters::{Waiter, Waiters};
use crate::{fork, ids, kinds, text};

/// Jobs that one step of a long read or purge takes, so that nobody is held up for longer \[Q21\].
pub(crate) const PAGE: usize = 1_000;

/// Batches from this size on let other Python threads run meanwhile: giving up the GIL costs as much as a job.
const DETACH: usize = 64;

/// Finished jobs that one automatic purge removes at the most.
const EXPIRE_STEP: usize = 1_000;

/// What one store is, whatever the number of storage objects over it.
pub(crate) struct Shared {
    // A blocking mutex, held for microseconds, never while Python runs. An engine behind an async lock or a channel would
    // cost each call a task switch.
    inner: Mutex<Inner>,
    clock: Clock,
    pub(crate) max_payload_bytes: usize,
    /// Whether any final kind is kept for a time only.
    expires: bool,
    started: Instant,
    /// Milliseconds of `started` at which the next automatic purge may run.
    next_expiry: AtomicI64,
}

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    waiters: Waiters,
}

impl Inner {
    /// Whom the last operation has given something to do.
    fn woken(&mut self) -> Vec<Waiter> {
        if self.waiters.is_empty() {
            return Vec::new();
        }
        let risen = self.engine.take_risen();
        let woken = if risen.is_empty() { Vec::new() } else { self.waiters.for_jobs(&risen) };
        self.engine.watch(!self.waiters.is_empty());
        woken
    }
}

impl Shared {
    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, Inner> {
        // A panic inside the engine is a bug, but it must not make every later call one too.
        self.inner.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs an operation and wakes those whom it concerns.
    pub(crate) fn run<R>(&self, py: Python<'_>, operation: impl FnOnce(&mut Engine, Micros) -> R) -> R {
        let now = self.clock.now();
        let mut inner = self.lock(py);
        let result = operation(&mut inner.engine, now);
        let woken = inner.woken();
        drop(inner);
        self.wake(py, woken);
        result
    }

    /// Writes one job under its own lock too: nothing is copied for it, and nobody sees it half done.
    fn write(
        &self,
        py: Python<'_>,
        job: &Job,
        scope: Scope<'_>,
        operation: impl FnOnce(&mut Engine, Micros, &Record, Option<Token>) -> Result<Accepted, Error>,
    ) -> PyResult<Result<Kind, Error>> {
        let now = self.clock.now();
        let (mut inner, mut carried) = job.current_behind(py, scope, || self.lock(py))?;
        if let Err(error) = carried.record.check_size(self.max_payload_bytes) {
            return Ok(Err(error));
        }
        let token = carried.token();
        let kind = carried.record.state.kind();
        let outcome = operation(&mut inner.engine, now, &carried.record, token);
        let outcome = outcome.map(|accepted| carried.accept(accepted));
        drop(carried);
        let woken = inner.woken();
        drop(inner);
        // Python may run again from here on.
        self.wake(py, woken);
        Ok(outcome.map(|()| kind))
    }

    /// The same for `size` jobs, off the GIL where that is worth it.
    pub(crate) fn run_bulk<R: Send>(
        &self,
        py: Python<'_>,
        size: usize,
        operation: impl FnOnce(&mut Engine, Micros) -> R + Send,
    ) -> R {
        if size < DETACH {
            return self.run(py, operation);
        }
        let now = self.clock.now();
        let (result, woken) = py.detach(|| {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            (operation(&mut inner.engine, now), inner.woken())
        });
        self.wake(py, woken);
        result
    }

    /// Calls the waiters. One whose event loop is gone passes its turn on.
    #[inline]
    fn wake(&self, py: Python<'_>, woken: Vec<Waiter>) {
        for mut waiter in woken {
            while !wake_one(py, &waiter) {
                let next = self.next_waiter(py);
                match next {
                    Some(next) => waiter = next,
                    None => break,
                }
            }
        }
    }

    fn next_waiter(&self, py: Python<'_>) -> Option<Waiter> {
        let now = self.clock.now();
        let mut inner = self.lock(py);
        let Inner { engine, waiters } = &mut *inner;
        waiters.first(|queues| engine.may_claim(now, queues))
    }

    /// Makes all waiters look again: the clock was moved.
    pub(crate) fn wake_all(&self, py: Python<'_>) {
        let woken = self.lock(py).waiters.drain(None);
        for waiter in &woken {
            wake_one(py, waiter);
        }
    }

    /// Purges what is kept for a time only, at most once a second of real time \[C1\].
    pub(crate) fn expire(&self, py: Python<'_>) {
        if !self.expires {
            return;
        }
        let now = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        let next = self.next_expiry.load(Ordering::Relaxed);
        let won = next <= now
            && self.next_expiry.compare_exchange(next, now + 1_000, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if won {
            self.run(py, |engine, now| engine.expire(now, EXPIRE_STEP));
        }
    }
}

fn wake_one(py: Python<'_>, waiter: &Waiter) -> bool {
    match waiter.wake.call0(py).and_then(|woke| woke.extract::<bool>(py)) {
        Ok(woke) => woke,
        Err(error) => {
            // A signal handler of the user's may raise anywhere; the operation itself is done.
            error.write_unraisable(py, None);
            true
        }
    }
}

/// One storage object's hold on a store.
#[pyclass(frozen, module = "ferroq._native")]
pub(crate) struct Store {
    pub(crate) shared: Arc<Shared>,
    closed: AtomicBool,
    fork_epoch: u64,
    owner: u64,
}

impl Store {
    fn over(shared: Arc<Shared>) -> Self {
        static OWNERS: AtomicU64 = AtomicU64::new(0);
        let owner = OWNERS.fetch_add(1, Ordering::Relaxed);
        Self { shared, closed: AtomicBool::new(false), fork_epoch: fork::epoch(), owner }
    }

    /// Refuses a storage that was closed, or that another process opened: its mutex may be held by a thread that does not
    /// exist here.
    pub(crate) fn enter(&self, py: Python<'_>, scope: Scope<'_>) -> PyResult<()> {
        if self.fork_epoch != fork::epoch() {
            let message = "the storage was made before a fork: use one made in this process";
            return Err(raise(py, "ForkedStorageError", message, None, scope));
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(raise(py, "StorageClosedError", "the storage is closed", None, scope));
        }
        Ok(())
    }
}

/// Seconds to keep, as the configuration gives them.
fn keep(seconds: Option<f64>) -> Keep {
    match seconds {
        None => Keep::Forever,
        Some(seconds) if seconds <= 0.0 => Keep::Never,
        Some(seconds) => Keep::For(micros(seconds)),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "float casts saturate, and the configuration checked the range")]
fn micros(seconds: f64) -> Micros {
    (seconds * 1e6).ceil() as Micros
}

#[pymethods]
impl Store {
    /// The fields of a `MemoryConfig`, checked there.
    #[new]
    #[pyo3(signature = (*, lock_timeout, max_crashes, max_payload_bytes, server_name, keep_succeeded, keep_failed,
                        keep_deleted, max_jobs, auto_cleanup, clock))]
    #[allow(clippy::too_many_arguments, reason = "the fields of the configuration")]
    fn new(
        py: Python<'_>,
        lock_timeout: f64,
        max_crashes: u32,
        max_payload_bytes: usize,
        server_name: &str,
        keep_succeeded: Option<f64>,
        keep_failed: Option<f64>,
        keep_deleted: Option<f64>,
        max_jobs: Option<usize>,
        auto_cleanup: bool,
        clock: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let manual = clock
            .map(|clock| clock.cast::<ManualClock>().map_err(|_| wrong_type("clock", "a ManualClock", clock)))
            .transpose()?
            .map(|clock| clock.get().0.clone());
        let options = Options {
            lock_timeout: micros(lock_timeout),
            max_crashes,
            server_name: server_name.into(),
            max_jobs,
            auto_cleanup,
            keep: [keep(keep_succeeded), keep(keep_failed), keep(keep_deleted)],
            hash_seed: ids::random(),
        };
        let expires = options.keep.iter().any(|keep| matches!(keep, Keep::For(_)));
        let shared = Arc::new(Shared {
            inner: Mutex::new(Inner { engine: Engine::new(options), waiters: Waiters::default() }),
            clock: manual.clone().map_or_else(Clock::system, Clock::Manual),
            max_payload_bytes,
            expires,
            started: Instant::now(),
            next_expiry: AtomicI64::new(0),
        });
        if let Some(manual) = manual {
            manual.attach(py, &shared);
        }
        Ok(Self::over(shared))
    }

    fn enqueue(&self, py: Python<'_>, job: &Bound<'_, PyAny>, if_exists: &Bound<'_, PyAny>) -> PyResult<bool> {
        let scope = memory("enqueue");
        self.enter(py, scope)?;
        let job = job.cast::<Job>().map_err(|_| wrong_type("job", "a Job", job))?.get();
        let skip = arguments::skip(Some(if_exists), Blame::argument(scope))?;
        match self.shared.write(py, job, scope, |engine, now, record, _| engine.enqueue(now, record.clone()))? {
            Ok(kind) if kind.is_final() => self.shared.expire(py),
            Ok(_) => {}
            Err(Error::AlreadyExists { .. }) if skip => return Ok(false),
            Err(error) => return Err(convert(py, &error, scope)),
        }
        Ok(true)
    }

    fn get(&self, py: Python<'_>, job_id: &Bound<'_, PyAny>) -> PyResult<Option<Job>> {
        let scope = memory("get");
        self.enter(py, scope)?;
        let id = text::name("job_id", job_id, Blame::argument(scope))?;
        Ok(self.shared.run(py, |engine, _| engine.get(id)).map(|record| Job::from_record(record, None)))
    }

    fn update(&self, py: Python<'_>, job: &Bound<'_, PyAny>) -> PyResult<()> {
        let scope = memory("update");
        self.enter(py, scope)?;
        let job = job.cast::<Job>().map_err(|_| wrong_type("job", "a Job", job))?.get();
        self.shared.write(py, job, scope, Engine::update)?.map_err(|error| convert(py, &error, scope))?;
        self.shared.expire(py);
        Ok(())
    }

    fn delete(&self, py: Python<'_>, job_id: &Bound<'_, PyAny>) -> PyResult<bool> {
        let scope = memory("delete");
        self.enter(py, scope)?;
        let id = text::name("job_id", job_id, Blame::argument(scope))?;
        Ok(self.shared.run(py, |engine, now| engine.delete(now, id)))
    }

    #[pyo3(signature = (state_filter, limit, offset, queue, after))]
    fn list<'py>(
        &self,
        py: Python<'py>,
        state_filter: Option<&Bound<'py, PyAny>>,
        limit: Option<&Bound<'py, PyAny>>,
        offset: Option<&Bound<'py, PyAny>>,
        queue: Option<&Bound<'py, PyAny>>,
        after: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let scope = memory("list");
        self.enter(py, scope)?;
        let blame = Blame::argument(scope);
        let kind = state_filter
            .filter(|value| !value.is_none())
            .map(|value| kinds::from_python("state_filter", value, blame))
            .transpose()?;
        let mut left = arguments::limit("limit", limit, i32::MAX.into(), blame)?.unwrap_or(usize::MAX);
        let mut skip = arguments::limit("offset", offset, i32::MAX.into(), blame)?.unwrap_or(0);
        let queue = text::optional_name("queue", queue, blame)?;
        let mut below = arguments::after(after, blame)?.unwrap_or(u64::MAX);
        let jobs = PyList::empty(py);
        while left > 0 {
            let size = left.min(PAGE);
            let page = self.shared.run(py, |engine, _| engine.list(kind, queue.as_ref(), below, &mut skip, size));
            left -= page.jobs.len();
            for record in page.jobs {
                jobs.append(Bound::new(py, Job::from_record(record, None))?)?;
            }
            let Some(next) = page.next else { break };
            below = next;
        }
        Ok(jobs)
    }

    fn get_job_counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.enter(py, memory("get_job_counts"))?;
        let counts = self.shared.run(py, |engine, _| engine.counts());
        let dict = PyDict::new(py);
        for (kind, count) in Kind::ALL.into_iter().zip(counts) {
            dict.set_item(kinds::to_python(py, kind)?, count)?;
        }
        Ok(dict)
    }

    #[pyo3(signature = (limit))]
    fn get_available_jobs<'py>(
        &self,
        py: Python<'py>,
        limit: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let scope = memory("get_available_jobs");
        self.enter(py, scope)?;
        let mut left = arguments::limit("limit", limit, i32::MAX.into(), Blame::argument(scope))?.unwrap_or(usize::MAX);
        let jobs = PyList::empty(py);
        let mut after = None;
        while left > 0 {
            let size = left.min(PAGE);
            let page = self.shared.run(py, |engine, now| engine.available(now, after, size));
            left -= page.jobs.len();
            for record in page.jobs {
                jobs.append(Bound::new(py, Job::from_record(record, None))?)?;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(jobs)
    }

    #[pyo3(signature = (worker_id, queues, lock_timeout))]
    fn fetch_and_lock_job(
        &self,
        py: Python<'_>,
        worker_id: &Bound<'_, PyAny>,
        queues: Option<&Bound<'_, PyAny>>,
        lock_timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Job>> {
        let scope = memory("fetch_and_lock_job");
        self.enter(py, scope)?;
        let blame = Blame::argument(scope);
        let worker = text::name("worker_id", worker_id, blame)?;
        let queues = arguments::queues(queues, blame)?;
        let timeout = arguments::lock_timeout("lock_timeout", lock_timeout, blame)?;
        let claimed = self.shared.run(py, |engine, now| engine.claim_one(now, worker, queues.as_deref(), timeout));
        Ok(claimed.map(|claimed| Job::from_record(claimed.job, Some(claimed.lock))))
    }

    #[pyo3(signature = (worker_id, limit, queues, lock_timeout))]
    fn fetch_available_jobs_atomic<'py>(
        &self,
        py: Python<'py>,
        worker_id: &Bound<'py, PyAny>,
        limit: Option<&Bound<'py, PyAny>>,
        queues: Option<&Bound<'py, PyAny>>,
        lock_timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let scope = memory("fetch_available_jobs_atomic");
        self.enter(py, scope)?;
        let blame = Blame::argument(scope);
        let worker = text::name("worker_id", worker_id, blame)?;
        let limit = arguments::limit("limit", limit, MAX_CLAIM, blame)?.unwrap_or(10);
        let queues = arguments::queues(queues, blame)?;
        let timeout = arguments::lock_timeout("lock_timeout", lock_timeout, blame)?;
        let claimed =
            self.shared.run_bulk(py, limit, |engine, now| engine.claim(now, worker, queues.as_deref(), limit, timeout));
        let jobs: Vec<_> = claimed
            .into_iter()
            .map(|claimed| Bound::new(py, Job::from_record(claimed.job, Some(claimed.lock))))
            .collect::<PyResult<_>>()?;
        PyList::new(py, jobs)
    }

    fn try_acquire_job_lock(
        &self,
        py: Python<'_>,
        job_id: &Bound<'_, PyAny>,
        worker_id: &Bound<'_, PyAny>,
        timeout_seconds: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let scope = memory("try_acquire_job_lock");
        self.enter(py, scope)?;
        let blame = Blame::argument(scope);
        let id: Text = text::shared_name("job_id", job_id, blame)?;
        let worker = text::shared_name("worker_id", worker_id, blame)?;
        let (least, most) = arguments::LOCK_SECONDS;
        let timeout = text::seconds("timeout_seconds", timeout_seconds, least, most, blame)?;
        Ok(self.shared.run(py, |engine, now| engine.try_lock(now, &id, &worker, timeout)))
    }

    fn release_job_lock(
        &self,
        py: Python<'_>,
        job_id: &Bound<'_, PyAny>,
        worker_id: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let scope = memory("release_job_lock");
        self.enter(py, scope)?;
        let blame = Blame::argument(scope);
        let id = text::name("job_id", job_id, blame)?;
        let worker = text::name("worker_id", worker_id, blame)?;
        Ok(self.shared.run(py, |engine, now| engine.unlock(now, id, worker)))
    }

    #[pyo3(signature = (kinds, older_than, limit))]
    fn purge(
        &self,
        py: Python<'_>,
        kinds: &Bound<'_, PyAny>,
        older_than: &Bound<'_, PyAny>,
        limit: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let scope = memory("purge");
        self.enter(py, scope)?;
        let blame = Blame::argument(scope);
        let kinds = arguments::final_kinds(kinds, blame)?;
        let (least, most) = ANY_SECONDS;
        let age = text::seconds_or_delta("older_than", older_than, least, most, blame)?;
        let limit = arguments::limit("limit", limit, i32::MAX.into(), blame)?.unwrap_or(usize::MAX);
        let mut purged = 0;
        while purged < limit {
            let step = (limit - purged).min(PAGE);
            let gone = self.shared.run_bulk(py, step, |engine, now| engine.purge(now, &kinds, age, step));
            purged += gone;
            if gone < step {
                break;
            }
        }
        Ok(purged)
    }

    fn verify(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.enter(py, memory("verify"))?;
        Ok(self.shared.run_bulk(py, usize::MAX, |engine, _| engine.verify()))
    }

    /// Registers a waiter: None where a claim may succeed now, else its ticket and the seconds until it should look again.
    #[pyo3(signature = (queues, timeout, wake))]
    fn wait(
        &self,
        py: Python<'_>,
        queues: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
        wake: Py<PyAny>,
    ) -> PyResult<Option<(u64, f64)>> {
        /// What comes due or lapses is seen within this time, also where it was written while the waiter slept.
        const LONGEST: f64 = 1.0;
        let scope = memory("wait_for_jobs");
        self.enter(py, scope)?;
        let blame = Blame::argument(scope);
        let queues = arguments::queues(queues, blame)?;
        let (least, most) = ANY_SECONDS;
        timeout
            .filter(|value| !value.is_none())
            .map(|value| text::seconds("timeout", value, least, most, blame))
            .transpose()?;
        let now = self.shared.clock.now();
        let mut inner = self.shared.lock(py);
        if inner.engine.may_claim(now, queues.as_deref()) {
            drop(inner);
            drop(wake);
            return Ok(None);
        }
        #[allow(clippy::cast_precision_loss, reason = "a pause of at most a second")]
        let pause = match inner.engine.next_event() {
            Some(at) if self.shared.clock.runs() => ((at - now).max(0) as f64 / 1e6).min(LONGEST),
            _ => LONGEST,
        };
        inner.engine.watch(true);
        Ok(Some((inner.waiters.add(self.owner, queues, wake), pause)))
    }

    /// Takes a waiter back; False where somebody has woken it meanwhile.
    fn unwait(&self, py: Python<'_>, ticket: u64) -> bool {
        let waiter = {
            let mut inner = self.shared.lock(py);
            let waiter = inner.waiters.remove(ticket);
            let watched = !inner.waiters.is_empty();
            inner.engine.watch(watched);
            waiter
        };
        waiter.is_some()
    }

    /// A waiter that was woken cannot use its turn: the next one gets it.
    fn pass_on(&self, py: Python<'_>) {
        let next = self.shared.next_waiter(py);
        self.shared.wake(py, next.into_iter().collect());
    }

    fn clone(&self, py: Python<'_>) -> PyResult<Self> {
        self.enter(py, memory("clone"))?;
        Ok(Self::over(self.shared.clone()))
    }

    fn open(&self, py: Python<'_>) -> PyResult<()> {
        self.enter(py, memory("open"))
    }

    fn close(&self, py: Python<'_>) {
        // In a forked child there is nothing to give back, and the mutex may never become free.
        if self.closed.swap(true, Ordering::AcqRel) || self.fork_epoch != fork::epoch() {
            return;
        }
        let waiters = self.shared.lock(py).waiters.drain(Some(self.owner));
        for waiter in &waiters {
            wake_one(py, waiter);
        }
    }

    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        self.enter(py, memory("clear"))?;
        self.shared.run_bulk(py, usize::MAX, |engine, _| engine.clear());
        Ok(())
    }

    fn length(&self, py: Python<'_>) -> PyResult<usize> {
        self.enter(py, memory("len"))?;
        Ok(self.shared.run(py, |engine, _| engine.len()))
    }

    /// The store's clock, in microseconds.
    fn now(&self) -> Micros {
        self.shared.clock.now()
    }
}
