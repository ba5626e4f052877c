//! Jobs column by column, for statements that take a batch as arrays: the common enqueue and the common settlement. Whatever
//! is not common is answered with None, and goes the way of rows.
#![allow(clippy::needless_pass_by_value, reason = "what is extracted from Python comes by value")]

use std::collections::HashSet;
use std::fmt::{Display, Write as _};

use ferroq_core::{Job as Record, Kind, State, state_to_compact};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use pyo3::{IntoPyObject, IntoPyObjectExt};

use crate::errors::{Scope, convert};
use crate::job::Job;

/// Jobs of one statement \[Q12, Q13\].
const CHUNK: usize = 1_000;
/// Text of one statement, its first job apart.
const CHUNK_BYTES: usize = 16 * 1024 * 1024;

/// All values, or the one that all rows have in common: `rows` is never empty.
fn column<'py, 'a, R, T>(py: Python<'py>, rows: &'a [R], get: impl Fn(&'a R) -> T) -> PyResult<Bound<'py, PyAny>>
where
    T: IntoPyObject<'py> + PartialEq,
{
    let first = get(&rows[0]);
    let same = rows.iter().all(|row| get(row) == first);
    Ok(PyList::new(py, (if same { &rows[..1] } else { rows }).iter().map(get))?.into_any())
}

/// An array of numbers as the server spells it. The driver takes a list apart one by one, looking at each element's type; a
/// text goes out as it is, and costs both sides a third.
fn numbers<T: Display>(values: impl Iterator<Item = T>) -> String {
    let mut text = String::from("{");
    for value in values {
        if text.len() > 1 {
            text.push(',');
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "{value}");
    }
    text.push('}');
    text
}

/// An array of texts likewise, each in quotes.
fn texts<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::from("{");
    for value in values {
        text.push_str(if text.len() > 1 { ",\"" } else { "\"" });
        let mut rest = value;
        while let Some(at) = rest.find(['"', '\\']) {
            text.push_str(&rest[..at]);
            text.push('\\');
            text.push_str(&rest[at..=at]);
            rest = &rest[at + 1..];
        }
        text.push_str(rest);
        text.push('"');
    }
    text.push('}');
    text
}

/// The columns of chunks of enqueued jobs, each with the number of its jobs; None where some are in another state or an id
/// comes twice. See `EnqueueColumns` in the stub.
#[pyfunction]
pub(crate) fn enqueue_columns<'py>(
    py: Python<'py>,
    jobs: Vec<Bound<'py, Job>>,
    max_payload_bytes: usize,
    backend: &str,
    operation: &str,
) -> PyResult<Option<Bound<'py, PyList>>> {
    let scope = Scope { backend: Some(backend), operation: Some(operation) };
    let mut records = Vec::with_capacity(jobs.len());
    let mut common = true;
    for job in &jobs {
        let (record, _) = job.get().snapshot(py, scope)?;
        record.check_size(max_payload_bytes).map_err(|error| convert(py, &error, scope))?;
        common &= record.state.kind() == Kind::Enqueued;
        records.push(record);
    }
    let ids: HashSet<&str> = records.iter().map(|record| record.body.id()).collect();
    if !common || ids.len() < records.len() {
        return Ok(None);
    }
    let chunks = PyList::empty(py);
    let mut rest = records.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take(CHUNK).take_while(|record| {
            bytes += record.text_len();
            bytes <= CHUNK_BYTES
        });
        let (chunk, others) = rest.split_at(fits.count().max(1));
        rest = others;
        let columns = [
            texts(chunk.iter().map(|record| record.body.id())).into_bound_py_any(py)?,
            column(py, chunk, |record| record.body.method())?,
            column(py, chunk, |record| record.body.arguments())?,
            numbers(chunk.iter().map(|record| record.body.created_at())).into_bound_py_any(py)?,
            column(py, chunk, |record| record.queue.as_ref() as &str)?,
            column(py, chunk, |record| record.priority)?,
            column(py, chunk, |record| record.max_retries)?,
            column(py, chunk, |record| record.job_type().map(AsRef::<str>::as_ref))?,
            column(py, chunk, Record::timeout_seconds)?,
            column(py, chunk, |record| record.metadata().map(AsRef::<str>::as_ref))?,
            numbers(chunk.iter().map(|record| match record.state {
                State::Enqueued { enqueued_at } => enqueued_at,
                _ => 0,
            }))
            .into_bound_py_any(py)?,
        ];
        chunks.append((chunk.len(), PyTuple::new(py, columns)?))?;
    }
    Ok(Some(chunks))
}

/// What an accepted enqueue of such jobs makes of them, by position.
#[pyfunction]
pub(crate) fn accept_enqueued(py: Python<'_>, jobs: Vec<Bound<'_, Job>>, sequences: Vec<u64>) {
    for (job, sequence) in jobs.iter().zip(sequences) {
        job.get().with_record(py, |record, lock| {
            record.version = 1;
            record.sequence = sequence;
            record.attempt = 0;
            record.crash_count = 0;
            record.retry_count = 0;
            *lock = None;
        });
    }
}

struct Settlement {
    place: usize,
    record: Record,
    token: u64,
    state: String,
}

/// The columns of a settlement, in order of sequence; None unless each job holds a claim and leaves Processing, no id comes
/// twice, nothing is wrong with any, and one statement takes them all. See `SettleColumns` in the stub.
#[pyfunction]
pub(crate) fn settle_columns<'py>(
    py: Python<'py>,
    jobs: Vec<Bound<'py, Job>>,
    max_payload_bytes: usize,
) -> PyResult<Option<Bound<'py, PyTuple>>> {
    if jobs.is_empty() || jobs.len() > CHUNK {
        return Ok(None);
    }
    let scope = Scope { backend: None, operation: None };
    let mut rows = Vec::with_capacity(jobs.len());
    let mut bytes = 0;
    for (place, job) in jobs.iter().enumerate() {
        // What is wrong is said by the way of rows, job by job.
        let Ok((record, Some(lock))) = job.get().snapshot(py, scope) else { return Ok(None) };
        let state = state_to_compact(&record.state);
        bytes += record.text_len() + state.len();
        if record.check_size(max_payload_bytes).is_err()
            || record.state.kind() == Kind::Processing
            || record.sequence == 0
            || bytes > CHUNK_BYTES
        {
            return Ok(None);
        }
        rows.push(Settlement { place, record, token: lock.token.get(), state });
    }
    rows.sort_unstable_by_key(|row| row.record.sequence);
    if rows.windows(2).any(|pair| pair[0].record.sequence == pair[1].record.sequence) {
        return Ok(None);
    }
    let rows = rows.as_slice();
    let columns = [
        numbers(rows.iter().map(|row| row.place)).into_bound_py_any(py)?,
        numbers(rows.iter().map(|row| row.record.sequence)).into_bound_py_any(py)?,
        numbers(rows.iter().map(|row| row.token)).into_bound_py_any(py)?,
        texts(rows.iter().map(|row| row.record.body.id())).into_bound_py_any(py)?,
        column(py, rows, |row| row.record.state.kind() as u8)?,
        column(py, rows, |row| row.state.as_str())?,
        column(py, rows, |row| row.record.state.own_due())?,
        column(py, rows, |row| row.record.state.own_retry_count().unwrap_or(0))?,
        column(py, rows, |row| row.record.queue.as_ref() as &str)?,
        column(py, rows, |row| row.record.priority)?,
        column(py, rows, |row| row.record.max_retries)?,
        column(py, rows, |row| row.record.job_type().map(AsRef::<str>::as_ref))?,
        column(py, rows, |row| row.record.timeout_seconds())?,
        column(py, rows, |row| row.record.metadata().map(AsRef::<str>::as_ref))?,
    ];
    PyTuple::new(py, columns).map(Some)
}

/// What a settlement made of the jobs: rows of place, version, attempt, `crash_count`, `retry_count`. The places that are
/// not among them.
#[pyfunction]
pub(crate) fn accept_settled(
    py: Python<'_>,
    jobs: Vec<Bound<'_, Job>>,
    rows: Vec<Bound<'_, PyAny>>,
) -> PyResult<Vec<usize>> {
    let mut settled = vec![false; jobs.len()];
    for row in &rows {
        let place: usize = row.get_item(0)?.extract()?;
        let version = row.get_item(1)?.extract()?;
        let attempt = row.get_item(2)?.extract()?;
        let crash_count = row.get_item(3)?.extract()?;
        let retry_count = row.get_item(4)?.extract()?;
        let Some(job) = jobs.get(place) else { continue };
        settled[place] = true;
        job.get().with_record(py, |record, lock| {
            record.version = version;
            record.attempt = attempt;
            record.crash_count = crash_count;
            record.retry_count = retry_count;
            *lock = None;
        });
    }
    Ok((0..jobs.len()).filter(|&place| !settled[place]).collect())
}
