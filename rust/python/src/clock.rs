//! Clocks of a memory store: the machine's, or one that a test moves \[Q28, T1\].

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use ferroq_core::{MAX_TIME, Micros};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyDateTime;

use crate::arguments::ANY_SECONDS;
use crate::errors::{Blame, OWN};
use crate::store::Shared;
use crate::{text, time};

/// Where a store reads the time.
pub(crate) enum Clock {
    /// Wall time read once and advanced by the monotonic clock: a step of the machine's clock changes nothing.
    System {
        /// Wall time at the start.
        from: Micros,
        /// The monotonic clock at the start.
        since: Instant,
    },
    /// Moved by hand.
    Manual(Arc<Manual>),
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self::System { from: time::wall(), since: Instant::now() }
    }

    pub(crate) fn now(&self) -> Micros {
        match self {
            Self::System { from, since } => from.saturating_add(time::micros(since.elapsed())).min(MAX_TIME),
            Self::Manual(manual) => manual.now.load(Ordering::Acquire),
        }
    }

    /// Whether times to come can be waited for in real time.
    pub(crate) fn runs(&self) -> bool {
        matches!(self, Self::System { .. })
    }
}

/// The time of a [`ManualClock`], and the stores that go by it.
pub(crate) struct Manual {
    now: AtomicI64,
    stores: Mutex<Vec<Weak<Shared>>>,
}

impl Manual {
    /// A store that wants to be told of every move.
    pub(crate) fn attach(&self, py: Python<'_>, store: &Arc<Shared>) {
        let mut stores = self.stores.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        stores.retain(|store| store.strong_count() > 0);
        stores.push(Arc::downgrade(store));
    }
}

/// A clock for tests: it stands still until `advance` moves it, and then locks lapse and jobs come due at once.
#[pyclass(frozen, module = "ferroq")]
pub(crate) struct ManualClock(pub(crate) Arc<Manual>);

#[pymethods]
impl ManualClock {
    /// It starts at the real time.
    #[new]
    fn new() -> Self {
        Self(Arc::new(Manual { now: AtomicI64::new(time::wall()), stores: Mutex::default() }))
    }

    /// The time that it shows.
    fn now<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDateTime>> {
        time::to_datetime(py, self.0.now.load(Ordering::Acquire))
    }

    /// Moves it forward by seconds or a timedelta, and wakes those who wait for jobs.
    fn advance(&self, seconds: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = seconds.py();
        let (least, most) = ANY_SECONDS;
        let step = text::seconds_or_delta("seconds", seconds, least, most, Blame::argument(OWN))?;
        let moved = self.0.now.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
            now.checked_add(step).filter(|&now| now <= MAX_TIME)
        });
        if moved.is_err() {
            return Err(Blame::argument(OWN).refuse(py, "seconds", "must not lead beyond 2254"));
        }
        let stores: Vec<_> = {
            let stores = self.0.stores.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
            stores.iter().filter_map(Weak::upgrade).collect()
        };
        for store in stores {
            store.wake_all(py);
        }
        Ok(())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("ManualClock(now={})", self.now(py)?.repr()?))
    }
}
