//! Forks: how a process knows that it is another than the one in which an object was made.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};

/// Counted up in each forked child. Reading it costs nothing, where asking for the process id is a system call.
static EPOCH: AtomicU64 = AtomicU64::new(0);

pub(crate) fn epoch() -> u64 {
    EPOCH.load(Ordering::Relaxed)
}

/// How many forks lie between the first import and this process.
#[pyfunction]
pub(crate) fn fork_epoch() -> u64 {
    epoch()
}

/// Counts from now on.
pub(crate) fn watch(py: Python<'_>) -> PyResult<()> {
    static WATCHED: AtomicU64 = AtomicU64::new(0);
    if WATCHED.fetch_add(1, Ordering::Relaxed) > 0 {
        return Ok(());
    }
    let in_child = PyCFunction::new_closure(py, None, None, |_, _| {
        EPOCH.fetch_add(1, Ordering::Relaxed);
    })?;
    let hooks = PyDict::new(py);
    hooks.set_item("after_in_child", in_child)?;
    py.import("os")?.call_method("register_at_fork", (), Some(&hooks))?;
    Ok(())
}
