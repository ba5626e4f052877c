//! `JobStateKind` and the core's `Kind`.

use ferroq_core::Kind;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use crate::errors::{Blame, wrong_type};
use crate::state::JobState;

/// The member of `JobStateKind`.
pub(crate) fn to_python(py: Python<'_>, kind: Kind) -> PyResult<&Bound<'_, PyAny>> {
    static MEMBERS: PyOnceLock<Vec<Py<PyAny>>> = PyOnceLock::new();
    let members = MEMBERS.get_or_try_init(py, || {
        let class = py.import("ferroq.kinds")?.getattr("JobStateKind")?;
        Kind::ALL.iter().map(|kind| Ok(class.call1((kind.name(),))?.unbind())).collect::<PyResult<_>>()
    })?;
    Ok(members[kind as usize].bind(py))
}

/// A kind, its value, or a state of which only the kind matters \[Q5\].
pub(crate) fn from_python(field: &str, value: &Bound<'_, PyAny>, blame: Blame<'_>) -> PyResult<Kind> {
    if let Ok(state) = value.cast::<JobState>() {
        return Ok(state.get().kind());
    }
    let name =
        value.cast::<PyString>().map_err(|_| wrong_type(field, "a JobStateKind, its value or a JobState", value))?;
    name.to_str().ok().and_then(Kind::from_name).ok_or_else(|| {
        blame.refuse(value.py(), field, &format!("must be a kind of state, not {:?}", name.to_string_lossy()))
    })
}
