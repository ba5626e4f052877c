//! Arguments of storage methods: one set of checks for all backends \[E2, Q21, Q22\].

use ferroq_core::{Kind, Micros, Name};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyInt, PyList, PyListMethods, PyString};

use crate::errors::{Blame, Scope, wrong_type};
use crate::job::Job;
use crate::{kinds, text};

/// Lock time-outs: a millisecond to a year \[L1\].
pub(crate) const LOCK_SECONDS: (f64, f64) = (0.001, 31_536_000.0);

/// The longest wait, delay or age, as far as only sense bounds it: all the time that instants span.
pub(crate) const ANY_SECONDS: (f64, f64) = (0.0, 8_993_721_600.0);

/// The most jobs that one claim takes \[Q11\].
pub(crate) const MAX_CLAIM: i64 = 1_000;

/// The most queues that one call names \[Q22\].
const MAX_QUEUES: usize = 256;

type Argument<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

fn given<'a, 'py>(value: Argument<'a, 'py>) -> Argument<'a, 'py> {
    value.filter(|value| !value.is_none())
}

/// A limit or an offset; None where none was given.
pub(crate) fn limit(field: &str, value: Argument<'_, '_>, most: i64, blame: Blame<'_>) -> PyResult<Option<usize>> {
    given(value)
        .map(|value| text::int(field, value, 0, most, blame).map(|number| usize::try_from(number).unwrap_or_default()))
        .transpose()
}

/// A lock time-out in microseconds; None where none was given.
pub(crate) fn lock_timeout(field: &str, value: Argument<'_, '_>, blame: Blame<'_>) -> PyResult<Option<Micros>> {
    let (least, most) = LOCK_SECONDS;
    given(value).map(|value| text::seconds(field, value, least, most, blame)).transpose()
}

/// The queues of a claim: None for all, else each name once.
pub(crate) fn queues(value: Argument<'_, '_>, blame: Blame<'_>) -> PyResult<Option<Vec<Name>>> {
    let Some(value) = given(value) else { return Ok(None) };
    let py = value.py();
    // A str is a sequence of strs, and never what was meant.
    let bare = value.is_instance_of::<PyString>()
        || value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyByteArray>()
        || value.is_instance_of::<PyDict>();
    let items = if bare { None } else { value.try_iter().ok() };
    let Some(items) = items else { return Err(wrong_type("queues", "a sequence of str", value)) };
    let mut names: Vec<Name> = Vec::new();
    for item in items {
        let item = item?;
        let name = text::name("queues", &item, blame)?;
        if !names.iter().any(|other| **other == *name) {
            names.push(name.into());
        }
        if names.len() > MAX_QUEUES {
            return Err(blame.refuse(py, "queues", &format!("must be at most {MAX_QUEUES} names")));
        }
    }
    if names.is_empty() {
        return Err(blame.refuse(py, "queues", "must not be empty (None is all queues)"));
    }
    Ok(Some(names))
}

/// The `after` of a list: the sequence to go on behind.
pub(crate) fn after(value: Argument<'_, '_>, blame: Blame<'_>) -> PyResult<Option<u64>> {
    let Some(value) = given(value) else { return Ok(None) };
    let refuse = |reason: &str| blame.refuse(value.py(), "after", reason);
    if let Ok(job) = value.cast::<Job>() {
        return match job.get().key(value.py()).1 {
            0 => Err(refuse("must be a job that is stored")),
            sequence => Ok(Some(sequence)),
        };
    }
    if !value.is_instance_of::<PyInt>() {
        return Err(wrong_type("after", "a Job or its sequence", value));
    }
    let sequence = text::int("after", value, 1, i64::MAX, blame)?;
    Ok(u64::try_from(sequence).ok())
}

/// The kinds of a purge: final ones, one or several.
pub(crate) fn final_kinds(value: &Bound<'_, PyAny>, blame: Blame<'_>) -> PyResult<Vec<Kind>> {
    let py = value.py();
    let single = value.is_instance_of::<PyString>() || value.cast::<crate::state::JobState>().is_ok();
    let kinds = if single {
        vec![kinds::from_python("kinds", value, blame)?]
    } else {
        let items = value.try_iter().map_err(|_| wrong_type("kinds", "a kind of state or several", value))?;
        let mut kinds = Vec::new();
        for item in items {
            let kind = kinds::from_python("kinds", &item?, blame)?;
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds
    };
    if let Some(kind) = kinds.iter().find(|kind| !kind.is_final()) {
        return Err(blame.refuse(py, "kinds", &format!("must be final kinds, not {}", kind.name())));
    }
    if kinds.is_empty() {
        return Err(blame.refuse(py, "kinds", "must name at least one final kind"));
    }
    Ok(kinds)
}

/// Whether an existing id is passed over.
pub(crate) fn skip(value: Argument<'_, '_>, blame: Blame<'_>) -> PyResult<bool> {
    let Some(value) = value else { return Ok(false) };
    let word = value.cast::<PyString>().map_err(|_| wrong_type("if_exists", "a str", value))?;
    match word.to_str() {
        Ok("error") => Ok(false),
        Ok("skip") => Ok(true),
        _ => Err(blame.refuse(value.py(), "if_exists", "must be \"error\" or \"skip\"")),
    }
}

/// The jobs of a bulk call.
pub(crate) fn jobs<'py>(value: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, Job>>> {
    let items = match value.cast::<Job>() {
        Ok(_) => None,
        Err(_) => value.try_iter().ok(),
    };
    let Some(items) = items else { return Err(wrong_type("jobs", "an iterable of Job", value)) };
    let mut jobs = Vec::with_capacity(value.cast_exact::<PyList>().map_or(0, PyListMethods::len));
    for (at, item) in items.enumerate() {
        let item = item?;
        let job = item.cast_into::<Job>().map_err(|error| {
            let name = error.into_inner().get_type().name().map_or_else(|_| String::new(), |name| name.to_string());
            PyTypeError::new_err(format!("jobs[{at}] must be a Job, not {name}"))
        })?;
        jobs.push(job);
    }
    Ok(jobs)
}

// ------------------------------------------------------------ the same checks for the backends written in Python

fn scope<'a>(backend: &'a str, operation: &'a str) -> Blame<'a> {
    Blame::argument(Scope { backend: Some(backend), operation: Some(operation) })
}

/// A name among the arguments.
#[pyfunction]
pub(crate) fn check_name(field: &str, value: &Bound<'_, PyAny>, backend: &str, operation: &str) -> PyResult<String> {
    text::name(field, value, scope(backend, operation)).map(str::to_owned)
}

/// A limit or an offset, up to `most`.
#[pyfunction]
pub(crate) fn check_limit(
    field: &str,
    value: Option<&Bound<'_, PyAny>>,
    most: i64,
    backend: &str,
    operation: &str,
) -> PyResult<Option<usize>> {
    limit(field, value, most, scope(backend, operation))
}

/// Seconds (`delta`: or a timedelta) of a range, in microseconds.
#[pyfunction]
pub(crate) fn check_seconds(
    field: &str,
    value: &Bound<'_, PyAny>,
    range: (f64, f64),
    delta: bool,
    backend: &str,
    operation: &str,
) -> PyResult<Micros> {
    let (blame, (least, most)) = (scope(backend, operation), range);
    if delta {
        text::seconds_or_delta(field, value, least, most, blame)
    } else {
        text::seconds(field, value, least, most, blame)
    }
}

type ClaimArguments = (Option<usize>, Option<Vec<String>>, Option<Micros>);

/// Limit, queues and lock time-out (µs) of a claim, None where they were not given.
#[pyfunction]
pub(crate) fn check_claim(
    limit: Option<&Bound<'_, PyAny>>,
    queues: Option<&Bound<'_, PyAny>>,
    lock_timeout: Option<&Bound<'_, PyAny>>,
    backend: &str,
    operation: &str,
) -> PyResult<ClaimArguments> {
    let blame = scope(backend, operation);
    Ok((
        self::limit("limit", limit, MAX_CLAIM, blame)?,
        self::queues(queues, blame)?.map(|names| names.iter().map(ToString::to_string).collect()),
        self::lock_timeout("lock_timeout", lock_timeout, blame)?,
    ))
}

type ListArguments = (Option<u8>, Option<usize>, usize, Option<String>, Option<u64>);

/// Kind, limit, offset, queue and sequence to go on behind, of a list.
#[pyfunction]
pub(crate) fn check_list(
    state_filter: Option<&Bound<'_, PyAny>>,
    limit: Option<&Bound<'_, PyAny>>,
    offset: Option<&Bound<'_, PyAny>>,
    queue: Option<&Bound<'_, PyAny>>,
    after: Option<&Bound<'_, PyAny>>,
    backend: &str,
    operation: &str,
) -> PyResult<ListArguments> {
    let blame = scope(backend, operation);
    let kind = given(state_filter).map(|value| kinds::from_python("state_filter", value, blame)).transpose()?;
    Ok((
        kind.map(|kind| kind as u8),
        self::limit("limit", limit, i32::MAX.into(), blame)?,
        self::limit("offset", offset, i32::MAX.into(), blame)?.unwrap_or(0),
        text::optional_name("queue", queue, blame)?.map(|name| name.to_string()),
        self::after(after, blame)?,
    ))
}

/// Kinds, age (µs) and limit of a purge.
#[pyfunction]
pub(crate) fn check_purge(
    kinds: &Bound<'_, PyAny>,
    older_than: &Bound<'_, PyAny>,
    limit: Option<&Bound<'_, PyAny>>,
    backend: &str,
    operation: &str,
) -> PyResult<(Vec<u32>, Micros, Option<usize>)> {
    let blame = scope(backend, operation);
    let (least, most) = ANY_SECONDS;
    Ok((
        final_kinds(kinds, blame)?.into_iter().map(|kind| kind as u32).collect(),
        text::seconds_or_delta("older_than", older_than, least, most, blame)?,
        self::limit("limit", limit, i32::MAX.into(), blame)?,
    ))
}
