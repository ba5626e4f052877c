//! `JobLock`: a claim as Python sees it.

use std::hash::{DefaultHasher, Hash, Hasher};

use ferroq_core::{ClaimLock, Token};
use pyo3::prelude::*;
use pyo3::types::PyDateTime;

use crate::errors::{Blame, OWN};
use crate::{text, time};

/// What `__reduce__` returns: a function of this module and its arguments.
pub(crate) type Reduced<'py, T> = PyResult<(Bound<'py, PyAny>, T)>;

/// A claim: its fencing token, who holds it, and when it lapses.
#[pyclass(frozen, module = "ferroq")]
pub(crate) struct JobLock(pub(crate) ClaimLock);

#[pymethods]
impl JobLock {
    #[classattr]
    fn __match_args__() -> (&'static str, &'static str, &'static str) {
        ("token", "worker_id", "expires_at")
    }

    /// Larger than that of every earlier claim of the id: a fencing token.
    #[getter]
    fn token(&self) -> u64 {
        self.0.token.get()
    }

    /// Who claimed.
    #[getter]
    fn worker_id(&self) -> &str {
        &self.0.worker_id
    }

    /// When the claim lapses unless it is renewed.
    #[getter]
    fn expires_at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDateTime>> {
        time::to_datetime(py, self.0.expires_at)
    }

    fn __eq__(&self, other: &Bound<'_, Self>) -> bool {
        other.get().0 == self.0
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.0.token, self.0.expires_at).hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "JobLock(token={}, worker_id={}, expires_at={})",
            self.0.token,
            self.0.worker_id.as_ref().into_pyobject(py)?.repr()?,
            time::to_datetime(py, self.0.expires_at)?.repr()?
        ))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> Reduced<'py, (u64, &str, i64)> {
        let make = py.import("ferroq._native")?.getattr("restore_lock")?;
        Ok((make, (self.0.token.get(), &self.0.worker_id, self.0.expires_at)))
    }
}

/// Unpickles a lock.
#[pyfunction]
pub(crate) fn restore_lock(token: u64, worker_id: &Bound<'_, PyAny>, expires_at: i64) -> PyResult<JobLock> {
    let blame = Blame::data(OWN);
    let token = Token::new(token).ok_or_else(|| blame.refuse(worker_id.py(), "token", "must be 1 or more"))?;
    Ok(JobLock(ClaimLock { token, expires_at, worker_id: text::shared_name("worker_id", worker_id, blame)? }))
}
