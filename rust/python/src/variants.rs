//! The seven variants: one subclass of `JobState` each, with its fields, reached as `JobState.Processing` and matchable.

use ferroq_core::{Kind, Micros, Name, State};
use pyo3::prelude::*;
use pyo3::types::{PyDateTime, PyTuple};
use pyo3::{PyClass, PyClassInitializer, PyTypeInfo};

use crate::errors::{Blame, OWN};
use crate::state::JobState;
use crate::{json, time};

/// Builds the object of a state.
pub(crate) fn make(py: Python<'_>, state: State, queue: Option<Name>) -> PyResult<Bound<'_, PyAny>> {
    fn build<T>(py: Python<'_>, base: JobState, variant: T) -> PyResult<Bound<'_, PyAny>>
    where
        T: PyClass<BaseType = JobState>,
        PyClassInitializer<T>: Into<PyClassInitializer<T>>,
    {
        Ok(Bound::new(py, PyClassInitializer::from(base).add_subclass(variant))?.into_any())
    }
    let base = JobState { state, queue };
    match base.kind() {
        Kind::Enqueued => build(py, base, Enqueued),
        Kind::Processing => build(py, base, Processing),
        Kind::Succeeded => build(py, base, Succeeded),
        Kind::Failed => build(py, base, Failed),
        Kind::Deleted => build(py, base, Deleted),
        Kind::Scheduled => build(py, base, Scheduled),
        Kind::AwaitingRetry => build(py, base, AwaitingRetry),
    }
}

/// Hangs the variants onto `JobState`.
pub(crate) fn attach(py: Python<'_>) -> PyResult<()> {
    let class = JobState::type_object(py);
    class.setattr("Enqueued", Enqueued::type_object(py))?;
    class.setattr("Processing", Processing::type_object(py))?;
    class.setattr("Succeeded", Succeeded::type_object(py))?;
    class.setattr("Failed", Failed::type_object(py))?;
    class.setattr("Deleted", Deleted::type_object(py))?;
    class.setattr("Scheduled", Scheduled::type_object(py))?;
    class.setattr("AwaitingRetry", AwaitingRetry::type_object(py))
}

/// A variant class: its fields in order, each with the expression that reads it out of the state.
macro_rules! variant {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[pyclass(frozen, extends = JobState, module = "ferroq")]
        struct $name;

        #[pymethods]
        impl $name {
            #[classattr]
            fn __match_args__(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
                PyTuple::new(py, [$(stringify!($field)),+])
            }

            $(
                $(#[$field_doc])*
                #[getter]
                fn $field<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
                    match &slf.as_super().get().state {
                        State::$name { $field, .. } => read::$kind(slf.py(), $field),
                        _ => Err(foreign(slf.py())),
                    }
                }
            )+
        }
    };
}

/// No constructor lets an object of a variant class hold another state.
fn foreign(py: Python<'_>) -> PyErr {
    Blame::data(OWN).refuse(py, "state", "is of another kind")
}

/// How a field becomes a Python object. All take a reference to the field as the state has it, so that the macro need not
/// know which fields are copied.
#[allow(clippy::trivially_copy_pass_by_ref, clippy::ref_option)]
mod read {
    use super::{Bound, Micros, Name, PyAny, PyDateTime, PyResult, Python, json, time};
    use crate::errors::{Blame, OWN};
    use pyo3::IntoPyObjectExt;

    pub(super) fn instant<'py>(py: Python<'py>, at: &Micros) -> PyResult<Bound<'py, PyAny>> {
        time::to_datetime(py, *at).map(Bound::<PyDateTime>::into_any)
    }

    pub(super) fn text<'py>(py: Python<'py>, text: &Name) -> PyResult<Bound<'py, PyAny>> {
        (&**text).into_bound_py_any(py)
    }

    pub(super) fn optional<'py>(py: Python<'py>, text: &Option<Name>) -> PyResult<Bound<'py, PyAny>> {
        text.as_deref().into_bound_py_any(py)
    }

    pub(super) fn count<'py>(py: Python<'py>, count: &u32) -> PyResult<Bound<'py, PyAny>> {
        count.into_bound_py_any(py)
    }

    pub(super) fn duration<'py>(py: Python<'py>, duration: &u64) -> PyResult<Bound<'py, PyAny>> {
        duration.into_bound_py_any(py)
    }

    pub(super) fn value<'py>(py: Python<'py>, text: &Option<Name>) -> PyResult<Bound<'py, PyAny>> {
        let Some(text) = text else { return Ok(py.None().into_bound(py)) };
        json::decode(py, text).map_err(|reason| Blame::data(OWN).refuse(py, "result", &reason))
    }
}

/// Waiting for a claim.
#[pyclass(frozen, extends = JobState, module = "ferroq")]
struct Enqueued;

#[pymethods]
impl Enqueued {
    #[classattr]
    fn __match_args__(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        PyTuple::new(py, ["enqueued_at", "queue"])
    }

    /// Since when.
    #[getter]
    fn enqueued_at<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDateTime>> {
        match slf.as_super().get().state {
            State::Enqueued { enqueued_at } => time::to_datetime(slf.py(), enqueued_at),
            _ => Err(foreign(slf.py())),
        }
    }

    /// In which queue.
    #[getter]
    fn queue(slf: &Bound<'_, Self>) -> Option<String> {
        slf.as_super().get().queue.as_deref().map(str::to_owned)
    }
}

variant! {
    /// In the hands of a worker.
    Processing {
        /// Since when.
        started_at: instant,
        /// Whose.
        worker_id: text,
        /// On which server.
        server_name: text,
    }
}

variant! {
    /// Done.
    Succeeded {
        /// When.
        succeeded_at: instant,
        /// After how many milliseconds.
        total_duration: duration,
        /// A JSON value, made anew at each read.
        result: value,
    }
}

variant! {
    /// Given up.
    Failed {
        /// When.
        failed_at: instant,
        /// Why.
        exception: text,
        /// From where.
        stack_trace: optional,
        /// After how many retries.
        retry_count: count,
    }
}

variant! {
    /// Softly deleted.
    Deleted {
        /// When.
        deleted_at: instant,
        /// Why.
        reason: optional,
    }
}

variant! {
    /// Due at a time.
    Scheduled {
        /// Since when.
        scheduled_at: instant,
        /// When it comes due.
        enqueue_at: instant,
        /// Why.
        reason: text,
    }
}

variant! {
    /// Due again after an error.
    AwaitingRetry {
        /// Since when.
        scheduled_at: instant,
        /// When it comes due.
        retry_at: instant,
        /// Which retry it will be.
        retry_count: count,
        /// What went wrong.
        last_exception: text,
    }
}
