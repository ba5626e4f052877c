//! Jobs as plain columns, for the backends that are written in Python: many in one call, the arguments' JSON untouched.

use ferroq_core::{
    Body, ClaimLock, Error, Extras, Job as Record, Kind, Name, State, Token, state_from_compact, state_to_compact,
};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyList, PySlice, PyString, PyTuple};

use crate::errors::{Blame, OWN, Scope, convert, wrong_type};
use crate::job::Job;
use crate::text;

/// What the jobs carry at this moment, checked, one tuple a job; see `Row` in the stub for the columns.
#[pyfunction]
pub(crate) fn snapshot<'py>(
    py: Python<'py>,
    jobs: &Bound<'py, PyAny>,
    max_payload_bytes: usize,
    backend: &str,
    operation: &str,
) -> PyResult<Bound<'py, PyList>> {
    let scope = Scope { backend: Some(backend), operation: Some(operation) };
    let rows = PyList::empty(py);
    for job in jobs.try_iter()? {
        let job = job?;
        let job = job.cast::<Job>().map_err(|_| wrong_type("jobs", "a sequence of Job", &job))?;
        let (record, lock) = job.get().snapshot(py, scope)?;
        record.check_size(max_payload_bytes).map_err(|error| convert(py, &error, scope))?;
        rows.append(row(py, &record, lock.as_ref())?)?;
    }
    Ok(rows)
}

fn row<'py>(py: Python<'py>, record: &Record, lock: Option<&ClaimLock>) -> PyResult<Bound<'py, PyTuple>> {
    let body = &record.body;
    let columns: [Bound<'py, PyAny>; 17] = [
        body.id().into_bound_py_any(py)?,
        body.method().into_bound_py_any(py)?,
        body.arguments().into_bound_py_any(py)?,
        body.created_at().into_bound_py_any(py)?,
        record.queue.as_ref().into_bound_py_any(py)?,
        record.priority.into_bound_py_any(py)?,
        record.max_retries.into_bound_py_any(py)?,
        record.job_type().map(AsRef::<str>::as_ref).into_bound_py_any(py)?,
        record.timeout_seconds().into_bound_py_any(py)?,
        record.metadata().map(AsRef::<str>::as_ref).into_bound_py_any(py)?,
        (record.state.kind() as u8).into_bound_py_any(py)?,
        state_to_compact(&record.state).into_bound_py_any(py)?,
        record.state.own_due().into_bound_py_any(py)?,
        record.state.worker().map(AsRef::<str>::as_ref).into_bound_py_any(py)?,
        record.state.own_retry_count().unwrap_or(0).into_bound_py_any(py)?,
        record.version.into_bound_py_any(py)?,
        lock.map(|lock| lock.token.get()).into_bound_py_any(py)?,
    ];
    PyTuple::new(py, columns)
}

/// The columns of a stored job, as `restore` reads them.
pub(crate) fn stored<'py>(py: Python<'py>, record: &Record, lock: Option<&ClaimLock>) -> PyResult<Bound<'py, PyTuple>> {
    let body = &record.body;
    let columns: [Bound<'py, PyAny>; 19] = [
        body.id().into_bound_py_any(py)?,
        body.method().into_bound_py_any(py)?,
        body.arguments().into_bound_py_any(py)?,
        body.created_at().into_bound_py_any(py)?,
        record.queue.as_ref().into_bound_py_any(py)?,
        record.priority.into_bound_py_any(py)?,
        record.max_retries.into_bound_py_any(py)?,
        record.job_type().map(AsRef::<str>::as_ref).into_bound_py_any(py)?,
        record.timeout_seconds().into_bound_py_any(py)?,
        record.metadata().map(AsRef::<str>::as_ref).into_bound_py_any(py)?,
        (record.state.kind() as u8).into_bound_py_any(py)?,
        state_to_compact(&record.state).into_bound_py_any(py)?,
        record.attempt.into_bound_py_any(py)?,
        record.crash_count.into_bound_py_any(py)?,
        record.retry_count.into_bound_py_any(py)?,
        record.version.into_bound_py_any(py)?,
        record.sequence.into_bound_py_any(py)?,
        lock.map(|lock| lock.token.get()).into_bound_py_any(py)?,
        lock.map(|lock| lock.expires_at).into_bound_py_any(py)?,
    ];
    PyTuple::new(py, columns)
}

/// Jobs out of stored columns; see `Stored` in the stub. Rows are tuples, or a driver's records that begin with these columns
/// and can be sliced. A row that cannot be decoded gives a `CorruptJobError` in its place.
#[pyfunction]
pub(crate) fn restore<'py>(
    py: Python<'py>,
    rows: &Bound<'py, PyAny>,
    backend: &str,
    operation: &str,
) -> PyResult<Bound<'py, PyList>> {
    let scope = Scope { backend: Some(backend), operation: Some(operation) };
    let columns = PySlice::new(py, 0, 19, 1);
    let jobs = PyList::empty(py);
    for row in rows.try_iter()? {
        let row = tuple(row?, &columns)?;
        match read(&row) {
            Ok((record, lock)) => jobs.append(Bound::new(py, Job::from_record(record, lock))?)?,
            Err(reason) => {
                let id = row.get_item(0)?;
                let id = id.cast::<PyString>().map_or_else(|_| String::new(), |id| id.to_string_lossy().into_owned());
                let error = convert(py, &Error::Corrupt { id: id.into(), reason: reason.to_string() }, scope);
                jobs.append(error.into_value(py))?;
            }
        }
    }
    Ok(jobs)
}

fn tuple<'py>(row: Bound<'py, PyAny>, columns: &Bound<'py, PySlice>) -> PyResult<Bound<'py, PyTuple>> {
    let row = row
        .cast_into::<PyTuple>()
        .or_else(|error| error.into_inner().get_item(columns)?.cast_into().map_err(PyErr::from))?;
    Ok(row)
}

/// Sequence, token, and why nobody may have the job.
type Refused = (u64, u64, String);

/// Jobs out of the rows of one claim; see `Claimed` in the stub. What the rows have in common is told once, and the state is
/// made here rather than written out by the server and read back. Also what nobody may have, as sequence, token and reason:
/// records that cannot be decoded, and claims that lapsed too often.
#[pyfunction]
pub(crate) fn restore_claims<'py>(
    rows: &Bound<'py, PyList>,
    worker_id: &str,
    server_name: &str,
    lock_timeout: i64,
    max_crashes: u32,
) -> PyResult<(Bound<'py, PyList>, Vec<Refused>)> {
    let py = rows.py();
    let columns = PySlice::new(py, 0, 18, 1);
    let (worker_id, server_name) = (Name::from(worker_id), Name::from(server_name));
    let jobs = PyList::empty(py);
    let mut refused = Vec::new();
    let mut queue = None;
    for row in rows {
        let row = tuple(row, &columns)?;
        if row.get_item(0)?.is_none() {
            continue;
        }
        let (token, started_at, lapsed) =
            (row.get_item(15)?.extract::<u64>()?, row.get_item(16)?.extract()?, row.get_item(17)?.extract::<bool>()?);
        let state = State::Processing { started_at, worker_id: worker_id.clone(), server_name: server_name.clone() };
        let why = match read_record(&row, state, 10, &mut queue) {
            Ok(record) if lapsed && record.crash_count >= max_crashes => {
                format!("lock lapsed {} times", record.crash_count)
            }
            Ok(record) => {
                let lock = Token::new(token).map(|token| ClaimLock {
                    token,
                    expires_at: started_at.saturating_add(lock_timeout),
                    worker_id: worker_id.clone(),
                });
                jobs.append(Bound::new(py, Job::from_record(record, lock))?)?;
                continue;
            }
            Err(_) => "the stored record cannot be decoded".to_owned(),
        };
        refused.push((row.get_item(14)?.extract()?, token, why));
    }
    Ok((jobs, refused))
}

/// Unpickles a job.
#[pyfunction]
pub(crate) fn restore_job(row: &Bound<'_, PyTuple>, worker_id: Option<&Bound<'_, PyAny>>) -> PyResult<Job> {
    let (record, _) = read(row)?;
    let token = row.get_item(17)?.extract::<Option<u64>>()?.and_then(Token::new);
    let lock = match (token, row.get_item(18)?.extract::<Option<i64>>()?) {
        (Some(token), Some(expires_at)) => text::optional_name("worker_id", worker_id, Blame::data(OWN))?
            .map(|worker_id| ClaimLock { token, expires_at, worker_id }),
        _ => None,
    };
    Ok(Job::from_record(record, lock))
}

fn read(row: &Bound<'_, PyTuple>) -> PyResult<(Record, Option<ClaimLock>)> {
    let py = row.py();
    let blame = Blame::data(OWN);
    let item = |at: usize| row.get_item(at);
    let kind = Kind::from_number(item(10)?.extract()?).ok_or_else(|| blame.refuse(py, "kind", "must be 0 to 6"))?;
    let fields = item(11)?;
    let state =
        state_from_compact(kind, text::text("state", &fields, blame)?).map_err(|error| convert(py, &error, OWN))?;
    let token = item(17)?.extract::<Option<u64>>()?.and_then(Token::new);
    let lock = match (token, item(18)?.extract::<Option<i64>>()?, state.worker()) {
        (Some(token), Some(expires_at), Some(worker)) => {
            Some(ClaimLock { token, expires_at, worker_id: worker.clone() })
        }
        _ => None,
    };
    Ok((read_record(row, state, 12, &mut None)?, lock))
}

/// The record of a row: the job's own columns first, attempt and what follows it at `counters`. `known` keeps the last queue:
/// most rows have the same, and share its name.
fn read_record(row: &Bound<'_, PyTuple>, state: State, counters: usize, known: &mut Option<Name>) -> PyResult<Record> {
    let py = row.py();
    let blame = Blame::data(OWN);
    let item = |at: usize| row.get_item(at);
    let (id, method, arguments) = (item(0)?, item(1)?, item(2)?);
    let body = Body::new(
        text::name("id", &id, blame)?,
        text::name("method", &method, blame)?,
        text::text("arguments", &arguments, blame)?,
        item(3)?.extract()?,
    )
    .map_err(|error| convert(py, &error, OWN))?;
    if !ferroq_core::check_time(body.created_at()) {
        return Err(blame.refuse(py, "created_at", "must lie between 1970 and 2254"));
    }
    let queue = item(4)?;
    let queue = match known {
        Some(name) if text::text("queue", &queue, blame)? == &**name => name.clone(),
        _ => known.insert(text::shared_name("queue", &queue, blame)?).clone(),
    };
    let timeout = item(8)?;
    let metadata = item(9)?;
    let extras = Extras {
        job_type: text::optional_name("job_type", Some(&item(7)?), blame)?,
        timeout_seconds: if timeout.is_none() {
            None
        } else {
            Some(text::count("timeout_seconds", &timeout, 1, blame)?)
        },
        metadata: if metadata.is_none() {
            None
        } else {
            let text = text::text("metadata", &metadata, blame)?;
            crate::metadata::decode(py, Some(text)).map_err(|reason| blame.refuse(py, "metadata", &reason))?;
            Some(text.into())
        },
    };
    Ok(Record {
        body,
        queue,
        state,
        extras: (extras != Extras::default()).then(|| extras.into()),
        priority: text::int32("priority", &item(5)?, i32::MIN, blame)?,
        max_retries: text::count("max_retries", &item(6)?, 0, blame)?,
        attempt: text::count("attempt", &item(counters)?, 0, blame)?,
        crash_count: text::count("crash_count", &item(counters + 1)?, 0, blame)?,
        retry_count: text::count("retry_count", &item(counters + 2)?, 0, blame)?,
        version: item(counters + 3)?.extract()?,
        sequence: item(counters + 4)?.extract()?,
    })
}

/// Sets a job's read-only attributes after an accepted write; `lock` is token and expiry, `state` kind and compact fields.
#[pyfunction]
#[pyo3(signature = (job, version, sequence, attempt, crash_count, retry_count, lock=None, state=None))]
#[allow(clippy::too_many_arguments, reason = "positional columns: this is called once a job")]
pub(crate) fn write_back(
    job: &Bound<'_, Job>,
    version: u64,
    sequence: u64,
    attempt: u32,
    crash_count: u32,
    retry_count: u32,
    lock: Option<(u64, i64)>,
    state: Option<(u8, String)>,
) -> PyResult<()> {
    let py = job.py();
    let state = state
        .map(|(kind, fields)| {
            let kind = Kind::from_number(kind).ok_or_else(|| Blame::data(OWN).refuse(py, "kind", "must be 0 to 6"))?;
            state_from_compact(kind, &fields).map_err(|error| convert(py, &error, OWN))
        })
        .transpose()?;
    let written = Written { version, sequence, attempt, crash_count, retry_count, lock, state };
    written.to(py, job.get());
    Ok(())
}

/// What an accepted write made of a job; `lock` is token and expiry, a state that is None stays.
pub(crate) struct Written {
    pub(crate) version: u64,
    pub(crate) sequence: u64,
    pub(crate) attempt: u32,
    pub(crate) crash_count: u32,
    pub(crate) retry_count: u32,
    pub(crate) lock: Option<(u64, i64)>,
    pub(crate) state: Option<State>,
}

impl Written {
    /// Sets the read-only attributes.
    pub(crate) fn to(self, py: Python<'_>, job: &Job) {
        job.with_record(py, |record, held| {
            record.version = self.version;
            record.sequence = self.sequence;
            record.attempt = self.attempt;
            record.crash_count = self.crash_count;
            record.retry_count = self.retry_count;
            if let Some(state) = self.state {
                record.state = state;
            }
            let worker = record.state.worker().or(held.as_ref().map(|lock| &lock.worker_id)).cloned();
            *held = self.lock.and_then(|(token, expires_at)| {
                Some(ClaimLock { token: Token::new(token)?, expires_at, worker_id: worker? })
            });
        });
    }
}

/// Sets the expiry of the claim that a job holds under that token.
#[pyfunction]
pub(crate) fn renew(job: &Bound<'_, Job>, token: u64, expires_at: i64) {
    if let Some(token) = Token::new(token) {
        job.get().renewed(job.py(), token, expires_at);
    }
}
