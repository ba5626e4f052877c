//! `JobState`: its builders and what all variants share. The variants' own fields are in `variants`.

use std::hash::{DefaultHasher, Hash, Hasher};

use ferroq_core::{Kind, Name, State, Text, Writer, state_from_compact, state_to_compact};
use pyo3::prelude::*;

use crate::errors::{Blame, OWN, convert, wrong_type};
use crate::lock::Reduced;
use crate::text::{ABSENT, Given};
use crate::{json, kinds, text, time, variants};

const DATA: Blame<'static> = Blame::data(OWN);

/// One of the seven states of a job: an immutable value, built by the static methods.
#[pyclass(frozen, subclass, module = "ferroq")]
pub(crate) struct JobState {
    pub(crate) state: State,
    /// Of an enqueued state; in a record it is the job's.
    pub(crate) queue: Option<Name>,
}

impl JobState {
    pub(crate) fn kind(&self) -> Kind {
        self.state.kind()
    }
}

#[pymethods]
impl JobState {
    /// Waiting in that queue, from now on.
    #[staticmethod]
    fn enqueued<'py>(queue: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let name = text::shared_name("queue", queue, DATA)?;
        variants::make(queue.py(), State::Enqueued { enqueued_at: time::wall() }, Some(name))
    }

    /// In the hands of a worker, from now on.
    #[staticmethod]
    fn processing<'py>(worker_id: &Bound<'py, PyAny>, server_name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let state = State::Processing {
            started_at: time::wall(),
            worker_id: text::shared_name("worker_id", worker_id, DATA)?,
            server_name: text::shared_name("server_name", server_name, DATA)?,
        };
        variants::make(worker_id.py(), state, None)
    }

    /// Done now, after `total_duration` milliseconds, with any JSON value as its result.
    #[staticmethod]
    #[pyo3(signature = (total_duration, result=None))]
    fn succeeded<'py>(
        total_duration: &Bound<'py, PyAny>,
        result: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let duration = text::int("total_duration", total_duration, 0, i64::MAX, DATA)?;
        let result = result.map(encode_result).transpose()?;
        let state = State::Succeeded {
            succeeded_at: time::wall(),
            total_duration: u64::try_from(duration).unwrap_or_default(),
            result,
        };
        variants::make(total_duration.py(), state, None)
    }

    /// Given up now; `exception` and `stack_trace` are cut to 64 KiB.
    #[staticmethod]
    #[pyo3(signature = (exception, stack_trace=None, retry_count=ABSENT))]
    #[pyo3(text_signature = "(exception, stack_trace=None, retry_count=0)")]
    #[allow(clippy::needless_pass_by_value, reason = "an extracted argument is owned")]
    fn failed<'py>(
        exception: &Bound<'py, PyAny>,
        stack_trace: Option<&Bound<'py, PyAny>>,
        retry_count: Given<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let state = State::Failed {
            failed_at: time::wall(),
            exception: ferroq_core::clip(text::text("exception", exception, DATA)?),
            stack_trace: text::optional_clipped("stack_trace", stack_trace, DATA)?,
            retry_count: retry_count.0.as_ref().map_or(Ok(0), |count| text::count("retry_count", count, 0, DATA))?,
        };
        variants::make(exception.py(), state, None)
    }

    /// Softly deleted now.
    #[staticmethod]
    #[pyo3(signature = (reason=None))]
    fn deleted<'py>(py: Python<'py>, reason: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        let reason = text::optional_clipped("reason", reason, DATA)?;
        variants::make(py, State::Deleted { deleted_at: time::wall(), reason }, None)
    }

    /// Due at that time.
    #[staticmethod]
    #[pyo3(signature = (enqueue_at, reason=ABSENT))]
    #[pyo3(text_signature = "(enqueue_at, reason='')")]
    #[allow(clippy::needless_pass_by_value, reason = "an extracted argument is owned")]
    fn scheduled<'py>(enqueue_at: &Bound<'py, PyAny>, reason: Given<'py>) -> PyResult<Bound<'py, PyAny>> {
        let reason = match &reason.0 {
            Some(reason) => ferroq_core::clip(text::text("reason", reason, DATA)?),
            None => Text::default(),
        };
        let state = State::Scheduled {
            scheduled_at: time::wall(),
            enqueue_at: time::from_datetime("enqueue_at", enqueue_at, DATA)?,
            reason,
        };
        variants::make(enqueue_at.py(), state, None)
    }

    /// Due again at that time, after an error.
    #[staticmethod]
    fn awaiting_retry<'py>(
        retry_at: &Bound<'py, PyAny>,
        retry_count: &Bound<'py, PyAny>,
        last_exception: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let state = State::AwaitingRetry {
            scheduled_at: time::wall(),
            retry_at: time::from_datetime("retry_at", retry_at, DATA)?,
            retry_count: text::count("retry_count", retry_count, 0, DATA)?,
            last_exception: ferroq_core::clip(text::text("last_exception", last_exception, DATA)?),
        };
        variants::make(retry_at.py(), state, None)
    }

    /// What it is, without its fields.
    #[getter(kind)]
    fn kind_member<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        kinds::to_python(py, self.kind()).cloned()
    }

    /// Succeeded, failed or deleted.
    #[getter]
    fn is_final(&self) -> bool {
        self.kind().is_final()
    }

    /// Not final.
    #[getter]
    fn is_active(&self) -> bool {
        !self.kind().is_final()
    }

    /// Whether `Job.set_state` allows the change to that state or kind.
    fn can_transition_to(&self, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.kind().can_become(kinds::from_python("other", other, Blame::argument(OWN))?))
    }

    fn __eq__(&self, other: &Bound<'_, Self>) -> bool {
        other.get().state == self.state && other.get().queue == self.queue
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        state_to_compact(&self.state).hash(&mut hasher);
        self.queue.hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let fields = slf.get_type().getattr("__match_args__")?;
        let mut text = format!("JobState.{}(", slf.get().kind().tag());
        for (at, field) in fields.try_iter()?.enumerate() {
            let field = field?.cast_into::<pyo3::types::PyString>()?;
            if at > 0 {
                text.push_str(", ");
            }
            text.push_str(field.to_str()?);
            text.push('=');
            text.push_str(slf.getattr(&field)?.repr()?.to_str()?);
        }
        text.push(')');
        Ok(text)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> Reduced<'py, (u8, String, Option<&str>)> {
        let make = py.import("ferroq._native")?.getattr("restore_state")?;
        Ok((make, (self.kind() as u8, state_to_compact(&self.state), self.queue.as_deref())))
    }
}

/// Unpickles a state.
#[pyfunction]
#[pyo3(signature = (kind, fields, queue))]
pub(crate) fn restore_state<'py>(
    py: Python<'py>,
    kind: u8,
    fields: &str,
    queue: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let kind = Kind::from_number(kind).ok_or_else(|| DATA.refuse(py, "kind", "must be 0 to 6"))?;
    let state = state_from_compact(kind, fields).map_err(|error| convert(py, &error, OWN))?;
    variants::make(py, state, text::optional_name("queue", queue, DATA)?)
}

fn encode_result(result: &Bound<'_, PyAny>) -> PyResult<Text> {
    let mut writer = Writer::default();
    json::encode(result, 1, &mut writer).map_err(|problem| {
        let (field, reason) = problem.parts("result");
        DATA.refuse(result.py(), &field, reason)
    })?;
    Ok(writer.as_str().into())
}

/// The state that an argument is.
pub(crate) fn from_python<'a, 'py>(field: &str, value: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, JobState>> {
    value.cast::<JobState>().map_err(|_| wrong_type(field, "a JobState", value))
}
