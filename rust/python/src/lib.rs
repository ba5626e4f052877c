//! The native module of ferroq: the engine for Python.
//!
//! This crate converts and nothing else: each function extracts, calls `ferroq_core`, converts back. Two rules hold
//! throughout. No Python object is touched, made or dropped while a mutex of ours is held, so that no `__del__`, `__eq__` or
//! signal handler can find one locked. And every class is frozen: what changes lies behind a mutex of its own, so that two
//! threads with one object never meet a borrow error.

mod arguments;
mod bulk;
mod clock;
mod columns;
mod errors;
mod fork;
mod ids;
mod job;
mod json;
mod kinds;
mod lock;
mod metadata;
mod redis_records;
mod rows;
mod state;
mod store;
mod text;
mod time;
mod variants;
mod waiters;

use pyo3::prelude::*;

/// The native part of ferroq; the public names are those of the package.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::arguments::{check_claim, check_limit, check_list, check_name, check_purge, check_seconds};
    #[pymodule_export]
    use crate::clock::ManualClock;
    #[pymodule_export]
    use crate::columns::{accept_enqueued, accept_settled, enqueue_columns, settle_columns};
    #[pymodule_export]
    use crate::fork::fork_epoch;
    #[pymodule_export]
    use crate::job::Job;
    #[pymodule_export]
    use crate::lock::{JobLock, restore_lock};
    #[pymodule_export]
    use crate::redis_records::{accept_new, accept_updates, pack_new, pack_updates, unpack_claim, unpack_records};
    #[pymodule_export]
    use crate::rows::{renew, restore, restore_claims, restore_job, snapshot, write_back};
    #[pymodule_export]
    use crate::state::{JobState, restore_state};
    #[pymodule_export]
    use crate::store::Store;

    use super::{Bound, PyModule, PyResult};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::fork::watch(module.py())?;
        crate::variants::attach(module.py())
    }
}
