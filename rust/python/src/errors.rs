//! The one place where a refusal of the engine becomes a Python exception.

use ferroq_core::{Error, Text};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule, PyTuple};

/// Where an error happened: both None for a job's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) backend: Option<&'a str>,
    pub(crate) operation: Option<&'a str>,
}

/// A job's own errors.
pub(crate) const OWN: Scope<'static> = Scope { backend: None, operation: None };

/// A method of the memory backend.
pub(crate) const fn memory(operation: &'static str) -> Scope<'static> {
    Scope { backend: Some("memory"), operation: Some(operation) }
}

fn errors(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    MODULE.get_or_try_init(py, || py.import("ferroq.errors").map(Bound::unbind)).map(|module| module.bind(py))
}

/// Whether it is an error of ours, which a caller may get as a verdict.
pub(crate) fn is_storage_error(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    error.value(py).is_instance(&errors(py)?.getattr("StorageError")?)
}

/// An instance of a class of `ferroq.errors`.
pub(crate) fn raise(py: Python<'_>, class: &str, message: &str, job_ids: Option<&[Text]>, scope: Scope<'_>) -> PyErr {
    let make = || -> PyResult<PyErr> {
        let context = PyDict::new(py);
        context.set_item("backend", scope.backend)?;
        context.set_item("operation", scope.operation)?;
        if let Some(ids) = job_ids {
            context.set_item("job_ids", PyTuple::new(py, ids.iter().map(|id| &**id))?)?;
        }
        let error = errors(py)?.getattr(class)?.call((message,), Some(&context))?;
        Ok(PyErr::from_value(error))
    };
    make().unwrap_or_else(|error| error)
}

/// What an [`Error`] is in Python.
pub(crate) fn convert(py: Python<'_>, error: &Error, scope: Scope<'_>) -> PyErr {
    let one = |id: &Text| vec![id.clone()];
    let (class, ids) = match error {
        Error::NotFound { id } => ("JobNotFoundError", Some(one(id))),
        Error::AlreadyExists { ids } => ("JobAlreadyExistsError", Some(ids.clone())),
        Error::ConcurrentModification { id, .. } => ("ConcurrentModificationError", Some(one(id))),
        Error::LockLost { id } => ("LockLostError", Some(one(id))),
        Error::Locked { id, .. } => ("JobLockedError", Some(one(id))),
        Error::Corrupt { id, .. } => ("CorruptJobError", Some(one(id))),
        Error::Capacity { .. } => ("CapacityExceededError", None),
        Error::TooLarge { .. } => ("PayloadTooLargeError", None),
        Error::InvalidTransition { .. } => ("InvalidTransitionError", None),
        Error::InvalidData { .. } => ("InvalidJobDataError", None),
    };
    raise(py, class, &error.to_string(), ids.as_deref(), scope)
}

/// Whose fault a bad value is: that of a job's data, or that of a method's argument.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blame<'a> {
    pub(crate) class: &'static str,
    pub(crate) scope: Scope<'a>,
}

impl<'a> Blame<'a> {
    pub(crate) const fn data(scope: Scope<'a>) -> Self {
        Self { class: "InvalidJobDataError", scope }
    }

    pub(crate) const fn argument(scope: Scope<'a>) -> Self {
        Self { class: "InvalidArgumentError", scope }
    }

    /// The named error, with the field's name in front.
    pub(crate) fn refuse(self, py: Python<'_>, field: &str, reason: &str) -> PyErr {
        raise(py, self.class, &format!("{field} {reason}"), None, self.scope)
    }
}

/// Another type than the signature says \[E2\].
pub(crate) fn wrong_type(field: &str, wanted: &str, given: &Bound<'_, PyAny>) -> PyErr {
    let name = given.get_type().name().map_or_else(|_| "another type".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("{field} must be {wanted}, not {name}"))
}
