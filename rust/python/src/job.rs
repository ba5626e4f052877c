//! `Job`: the object that callers hold.

use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use ferroq_core::{
    Accepted, Body, ClaimLock, Error, Extras, Job as Record, Name, Released, State, Text, Token, Writer,
};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::{MutexExt, PyOnceLock};
use pyo3::types::{PyDateTime, PyDict, PyList, PyString, PyTuple};

use crate::errors::{Blame, OWN, Scope, convert, raise, wrong_type};
use crate::lock::{JobLock, Reduced};
use crate::text::{ABSENT, Given};
use crate::{ids, json, metadata, rows, state, text, time, variants};

const DATA: Blame<'static> = Blame::data(OWN);

/// A unit of work and everything that the store knows of it.
#[pyclass(frozen, module = "ferroq")]
pub(crate) struct Job {
    inner: Mutex<Inner>,
    /// Made at the first look; from then on it is the truth, and the text in `inner` is what it was at the last write.
    metadata: OnceLock<Py<PyDict>>,
}

pub(crate) struct Inner {
    pub(crate) record: Record,
    lock: Option<ClaimLock>,
}

thread_local! {
    // Encoding happens for every job: the buffer is kept.
    static BUFFER: RefCell<Writer> = RefCell::new(Writer::with_capacity(1024));
}

/// A buffer that has grown beyond this is not kept.
const KEEP_BUFFER: usize = 64 * 1024;

pub(crate) fn default_queue(py: Python<'_>) -> Name {
    static DEFAULT: PyOnceLock<Name> = PyOnceLock::new();
    DEFAULT.get_or_init(py, || "default".into()).clone()
}

impl Job {
    pub(crate) fn from_record(record: Record, lock: Option<ClaimLock>) -> Self {
        Self { inner: Mutex::new(Inner { record, lock }), metadata: OnceLock::new() }
    }

    fn inner(&self, py: Python<'_>) -> MutexGuard<'_, Inner> {
        self.inner.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    /// What the job carries at this moment, its metadata checked. While the guard lives, no Python may run.
    pub(crate) fn current(&self, py: Python<'_>, scope: Scope<'_>) -> PyResult<MutexGuard<'_, Inner>> {
        self.current_behind(py, scope, || ()).map(|((), inner)| inner)
    }

    /// The same behind another lock, which is taken when nothing can be refused any more.
    ///
    /// A job's lock is the inner one: nobody waits for anything while holding it, so a fork never finds it held.
    pub(crate) fn current_behind<G>(
        &self,
        py: Python<'_>,
        scope: Scope<'_>,
        outer: impl FnOnce() -> G,
    ) -> PyResult<(G, MutexGuard<'_, Inner>)> {
        let text = self.metadata.get().map(|dict| metadata::encode(dict.bind(py), Blame::data(scope))).transpose()?;
        let outer = outer();
        let mut inner = self.inner(py);
        if let Some(text) = text
            && inner.record.metadata() != text.as_ref()
        {
            inner.record.edit_extras(|extras| extras.metadata = text);
        }
        Ok((outer, inner))
    }

    /// A copy of it, with the claim that the job holds.
    pub(crate) fn snapshot(&self, py: Python<'_>, scope: Scope<'_>) -> PyResult<(Record, Option<ClaimLock>)> {
        let inner = self.current(py, scope)?;
        Ok((inner.record.clone(), inner.lock.clone()))
    }

    /// Writes back what an accepted write made of the job.
    pub(crate) fn accept(&self, py: Python<'_>, accepted: Accepted) {
        self.inner(py).accept(accepted);
    }

    /// Writes back a release.
    pub(crate) fn released(&self, py: Python<'_>, released: Released) {
        let mut inner = self.inner(py);
        inner.accept(released.accepted);
        inner.record.state = released.state;
    }

    /// The claim that the object holds.
    pub(crate) fn claim(&self, py: Python<'_>) -> Option<Token> {
        self.inner(py).token()
    }

    /// Writes back a renewal; a claim that was settled meanwhile stays settled.
    pub(crate) fn renewed(&self, py: Python<'_>, token: Token, expires_at: i64) {
        if let Some(lock) = &mut self.inner(py).lock
            && lock.token == token
        {
            lock.expires_at = expires_at;
        }
    }

    pub(crate) fn key(&self, py: Python<'_>) -> (Text, u64) {
        let inner = self.inner(py);
        (inner.record.body.id().into(), inner.record.sequence)
    }

    pub(crate) fn with_record<R>(
        &self,
        py: Python<'_>,
        change: impl FnOnce(&mut Record, &mut Option<ClaimLock>) -> R,
    ) -> R {
        let mut inner = self.inner(py);
        let Inner { record, lock } = &mut *inner;
        change(record, lock)
    }
}

impl Inner {
    /// That of the claim that the object holds.
    pub(crate) fn token(&self) -> Option<Token> {
        self.lock.as_ref().map(|lock| lock.token)
    }

    pub(crate) fn accept(&mut self, accepted: Accepted) {
        self.record.version = accepted.version;
        self.record.sequence = accepted.sequence;
        self.record.attempt = accepted.attempt;
        self.record.crash_count = accepted.crash_count;
        self.record.retry_count = accepted.retry_count;
        self.lock = accepted.lock;
    }
}

/// Encodes the list of arguments and joins it to id and method.
fn encode_body(
    id: Option<&Bound<'_, PyAny>>,
    method: &Bound<'_, PyAny>,
    arguments: Option<&Bound<'_, PyAny>>,
) -> PyResult<Body> {
    let py = method.py();
    let method = text::name("method", method, DATA)?;
    let mut fresh = [0; 36];
    let (id, created_at) = match id.filter(|id| !id.is_none()) {
        Some(id) => (text::name("id", id, DATA)?, time::wall()),
        None => ids::fresh(&mut fresh),
    };
    // No Python code runs while the buffer is borrowed: encoding calls none.
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        buffer.json(id);
        buffer.json(method);
        match arguments {
            None => buffer.raw("[]"),
            Some(list) => {
                if !list.is_instance_of::<PyList>() && !list.is_instance_of::<PyTuple>() {
                    return Err(wrong_type("arguments", "a list or a tuple", list));
                }
                json::encode(list, 0, buffer).map_err(|problem| {
                    let (field, reason) = problem.parts("arguments");
                    DATA.refuse(py, &field, reason)
                })?;
            }
        }
        let body = Body::joined(buffer.as_str(), id.len(), method.len(), created_at);
        if buffer.len() > KEEP_BUFFER {
            *buffer = Writer::with_capacity(1024);
        }
        body.map_err(|error| convert(py, &error, OWN))
    })
}

#[pymethods]
impl Job {
    #[new]
    #[pyo3(signature = (method, arguments=ABSENT, *, id=None, queue=None, priority=ABSENT, max_retries=ABSENT, metadata=None,
                        job_type=None, timeout_seconds=None, state=None))]
    #[pyo3(
        text_signature = "(method, arguments=(), *, id=None, queue=None, priority=0, max_retries=0, metadata=None, \
                             job_type=None, timeout_seconds=None, state=None)"
    )]
    #[allow(clippy::too_many_arguments, reason = "the constructor of CONTRACT section 2")]
    #[allow(clippy::needless_pass_by_value, reason = "an extracted argument is owned")]
    fn new(
        py: Python<'_>,
        method: &Bound<'_, PyAny>,
        arguments: Given<'_>,
        id: Option<&Bound<'_, PyAny>>,
        queue: Option<&Bound<'_, PyAny>>,
        priority: Given<'_>,
        max_retries: Given<'_>,
        metadata: Option<&Bound<'_, PyAny>>,
        job_type: Option<&Bound<'_, PyAny>>,
        timeout_seconds: Option<&Bound<'_, PyAny>>,
        state: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let body = encode_body(id, method, arguments.0.as_ref())?;
        let given = state.map(|value| state::from_python("state", value)).transpose()?.map(Bound::get);
        let queue = match text::optional_name("queue", queue, DATA)? {
            Some(queue) => queue,
            None => given.and_then(|state| state.queue.clone()).unwrap_or_else(|| default_queue(py)),
        };
        let state =
            given.map_or_else(|| State::Enqueued { enqueued_at: body.created_at() }, |given| given.state.clone());
        let extras = Extras {
            job_type: text::optional_name("job_type", job_type, DATA)?,
            timeout_seconds: timeout_seconds.map(|value| text::count("timeout_seconds", value, 1, DATA)).transpose()?,
            metadata: match metadata {
                None => None,
                Some(value) => {
                    let dict = value.cast::<PyDict>().map_err(|_| wrong_type("metadata", "a dict", value))?;
                    metadata::encode(dict, DATA)?
                }
            },
        };
        let record = Record {
            body,
            queue,
            retry_count: state.own_retry_count().unwrap_or(0),
            state,
            extras: (extras != Extras::default()).then(|| extras.into()),
            priority: priority.0.as_ref().map_or(Ok(0), |value| text::int32("priority", value, i32::MIN, DATA))?,
            max_retries: max_retries.0.as_ref().map_or(Ok(0), |value| text::count("max_retries", value, 0, DATA))?,
            attempt: 0,
            crash_count: 0,
            version: 0,
            sequence: 0,
        };
        Ok(Self::from_record(record, None))
    }

    /// The id: given, or a fresh UUID of version 7.
    #[getter]
    fn id<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        let body = self.inner(py).record.body.clone();
        PyString::new(py, body.id())
    }

    /// The method.
    #[getter]
    fn method<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        let body = self.inner(py).record.body.clone();
        PyString::new(py, body.method())
    }

    /// The arguments: a fresh list at each read.
    #[getter]
    fn arguments<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let body = self.inner(py).record.body.clone();
        json::decode(py, body.arguments()).map_err(|reason| {
            let id = [Text::from(body.id())];
            raise(
                py,
                "CorruptJobError",
                &format!("the arguments of job {:?} are no JSON: {reason}", body.id()),
                Some(&id),
                OWN,
            )
        })
    }

    /// When the job was constructed.
    #[getter]
    fn created_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDateTime>> {
        let at = self.inner(py).record.body.created_at();
        time::to_datetime(py, at)
    }

    /// The state; `set_state` changes it.
    #[getter]
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (state, queue) = {
            let inner = self.inner(py);
            let queue = matches!(inner.record.state, State::Enqueued { .. }).then(|| inner.record.queue.clone());
            (inner.record.state.clone(), queue)
        };
        variants::make(py, state, queue)
    }

    /// The queue.
    #[getter]
    fn queue<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        let queue = self.inner(py).record.queue.clone();
        PyString::new(py, &queue)
    }

    #[setter]
    fn set_queue(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let queue = text::shared_name("queue", value, DATA)?;
        self.inner(value.py()).record.queue = queue;
        Ok(())
    }

    /// Higher is claimed first.
    #[getter]
    fn priority(&self, py: Python<'_>) -> i32 {
        self.inner(py).record.priority
    }

    #[setter]
    fn set_priority(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let priority = text::int32("priority", value, i32::MIN, DATA)?;
        self.inner(value.py()).record.priority = priority;
        Ok(())
    }

    /// The budget for errors that a worker reports; 0 is no retry.
    #[getter]
    fn max_retries(&self, py: Python<'_>) -> u32 {
        self.inner(py).record.max_retries
    }

    #[setter]
    fn set_max_retries(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let max_retries = text::count("max_retries", value, 0, DATA)?;
        self.inner(value.py()).record.max_retries = max_retries;
        Ok(())
    }

    /// A category of the user's.
    #[getter]
    fn job_type<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyString>> {
        let job_type = self.inner(py).record.job_type().cloned();
        job_type.map(|name| PyString::new(py, &name))
    }

    #[setter]
    fn set_job_type(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let job_type = text::optional_name("job_type", Some(value), DATA)?;
        self.inner(value.py()).record.edit_extras(|extras| extras.job_type = job_type);
        Ok(())
    }

    /// How many seconds a worker should let the job run.
    #[getter]
    fn timeout_seconds(&self, py: Python<'_>) -> Option<u32> {
        self.inner(py).record.timeout_seconds()
    }

    #[setter]
    fn set_timeout_seconds(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let timeout = match value {
            none if none.is_none() => None,
            value => Some(text::count("timeout_seconds", value, 1, DATA)?),
        };
        self.inner(value.py()).record.edit_extras(|extras| extras.timeout_seconds = timeout);
        Ok(())
    }

    /// A dict of the job's own; changes in place are checked and stored by the next enqueue or update.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        if let Some(dict) = self.metadata.get() {
            return Ok(dict.bind(py).clone());
        }
        let (id, text) = {
            let inner = self.inner(py);
            (inner.record.body.clone(), inner.record.metadata().cloned())
        };
        let dict = metadata::decode(py, text.as_deref())
            .map_err(|reason| convert(py, &Error::Corrupt { id: id.id().into(), reason }, OWN))?;
        // Another thread may have been faster: then its dict is the job's.
        let _ = self.metadata.set(dict.clone().unbind());
        Ok(self.metadata.get().map_or(dict, |dict| dict.bind(py).clone()))
    }

    /// Claims taken, less those given back unspent.
    #[getter]
    fn attempt(&self, py: Python<'_>) -> u32 {
        self.inner(py).record.attempt
    }

    /// Claims that ended by lapse.
    #[getter]
    fn crash_count(&self, py: Python<'_>) -> u32 {
        self.inner(py).record.crash_count
    }

    /// Of the last failed or awaiting-retry state.
    #[getter]
    fn retry_count(&self, py: Python<'_>) -> u32 {
        self.inner(py).record.retry_count
    }

    /// 0 before it is stored, then + 1 with every accepted write.
    #[getter]
    fn version(&self, py: Python<'_>) -> u64 {
        self.inner(py).record.version
    }

    /// The store's insertion sequence; 0 before it is stored.
    #[getter]
    fn sequence(&self, py: Python<'_>) -> u64 {
        self.inner(py).record.sequence
    }

    /// The claim that this object holds, or None.
    #[getter]
    fn lock(&self, py: Python<'_>) -> Option<JobLock> {
        self.inner(py).lock.clone().map(JobLock)
    }

    /// Changes the state, if the table of transitions allows it; else `InvalidTransitionError`, and nothing changes.
    fn set_state(&self, state: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = state.py();
        let given = state::from_python("state", state)?.get();
        let to = given.kind();
        let from = {
            let mut inner = self.inner(py);
            let from = inner.record.state.kind();
            if from.can_become(to) {
                inner.record.state = given.state.clone();
                if let Some(queue) = &given.queue {
                    inner.record.queue = queue.clone();
                }
                if let Some(count) = given.state.own_retry_count() {
                    inner.record.retry_count = count;
                }
                return Ok(());
            }
            from
        };
        Err(convert(py, &Error::InvalidTransition { from, to }, OWN))
    }

    /// `metadata[key] = value`, checked at once.
    fn add_metadata(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = key.py();
        let name = text::name("metadata key", key, DATA)?;
        let value = text::text(&format!("metadata[{name:?}]"), value, DATA)?;
        self.metadata(py)?.set_item(name, value)
    }

    /// The job as JSON: a flat object, the state tagged by its variant, times in RFC 3339; without the lock.
    fn to_json(&self, py: Python<'_>) -> PyResult<String> {
        let (record, _) = self.snapshot(py, OWN)?;
        ferroq_core::to_json(&record).map_err(|error| convert(py, &error, OWN))
    }

    /// A job out of such JSON. Fields that the reference does not have may be missing.
    #[staticmethod]
    fn from_json(text: &Bound<'_, PyAny>) -> PyResult<Self> {
        let json = text::text("text", text, DATA)?;
        let record = ferroq_core::from_json(json).map_err(|error| convert(text.py(), &error, OWN))?;
        Ok(Self::from_record(record, None))
    }

    /// The same work as a new job: fresh id and time of creation, enqueued, all counters 0.
    fn clone_with_new_id(&self, py: Python<'_>) -> PyResult<Self> {
        let (mut record, _) = self.snapshot(py, OWN)?;
        let mut buffer = [0; 36];
        let (id, created_at) = ids::fresh(&mut buffer);
        record.body = Body::new(id, record.body.method(), record.body.arguments(), created_at)
            .map_err(|error| convert(py, &error, OWN))?;
        record.state = State::Enqueued { enqueued_at: created_at };
        (record.attempt, record.crash_count, record.retry_count) = (0, 0, 0);
        (record.version, record.sequence) = (0, 0);
        Ok(Self::from_record(record, None))
    }

    fn __eq__(slf: &Bound<'_, Self>, other: &Bound<'_, Self>) -> PyResult<bool> {
        let py = slf.py();
        if slf.is(other) {
            return Ok(true);
        }
        let bare = |job: &Self| {
            let mut record = job.inner(py).record.clone();
            let metadata = record.metadata().cloned();
            record.edit_extras(|extras| extras.metadata = None);
            (record, metadata)
        };
        let ((mine, my_metadata), (theirs, their_metadata)) = (bare(slf.get()), bare(other.get()));
        if mine != theirs {
            return Ok(false);
        }
        if slf.get().metadata.get().is_none() && other.get().metadata.get().is_none() && my_metadata == their_metadata {
            return Ok(true);
        }
        slf.get().metadata(py)?.eq(other.get().metadata(py)?)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let (record, lock) = {
            let inner = self.inner(py);
            (inner.record.clone(), inner.lock.clone())
        };
        let quoted = |text: &str| -> PyResult<String> { Ok(text.into_pyobject(py)?.repr()?.to_string()) };
        let held = lock.map_or_else(String::new, |lock| format!(", token={}", lock.token));
        Ok(format!(
            "Job(id={}, method={}, queue={}, state={}, priority={}, attempt={}, version={}{held})",
            quoted(record.body.id())?,
            quoted(record.body.method())?,
            quoted(&record.queue)?,
            quoted(record.state.kind().name())?,
            record.priority,
            record.attempt,
            record.version,
        ))
    }

    fn __copy__(&self, py: Python<'_>) -> PyResult<Self> {
        let (record, lock) = self.snapshot(py, OWN)?;
        Ok(Self::from_record(record, lock))
    }

    fn __deepcopy__(&self, py: Python<'_>, _memo: &Bound<'_, PyAny>) -> PyResult<Self> {
        self.__copy__(py)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> Reduced<'py, Bound<'py, PyTuple>> {
        let (record, lock) = self.snapshot(py, OWN)?;
        let worker = lock.as_ref().map(|lock| lock.worker_id.clone());
        let row = rows::stored(py, &record, lock.as_ref())?;
        let make = py.import("ferroq._native")?.getattr("restore_job")?;
        Ok((make, (row, worker.as_deref()).into_pyobject(py)?))
    }

    /// Only the dict can lead back to this object, and it clears itself.
    #[allow(clippy::needless_pass_by_value, reason = "the signature is PyO3's")]
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.metadata.get() {
            Some(dict) => visit.call(dict),
            None => Ok(()),
        }
    }
}
