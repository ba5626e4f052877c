//! States as JSON: the reference's tagged form for `to_json`, and a compact form for the stored records of other backends.
//!
//! Both go through one bag of fields, generic over how an instant is spelled.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::Error;
use crate::json::{canonical, has_wide_integer};
use crate::name::{Name, Text, check_name};
use crate::state::{Kind, State, clip};
use crate::time::{Micros, check_time, format_time, parse_time};

/// How an instant is spelled in JSON.
pub(crate) trait Spelling: Serialize + DeserializeOwned {
    fn spell(at: Micros) -> Self;
    fn at(&self) -> Micros;
}

/// RFC 3339.
pub(crate) struct Rfc3339(Micros);

impl Spelling for Rfc3339 {
    fn spell(at: Micros) -> Self {
        Self(at)
    }

    fn at(&self) -> Micros {
        self.0
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_time(self.0))
    }
}

impl<'de> Deserialize<'de> for Rfc3339 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        parse_time(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Spelling for Micros {
    fn spell(at: Micros) -> Self {
        at
    }

    fn at(&self) -> Micros {
        *self
    }
}

/// The fields of all variants. Which of them a variant has is said in `split` and `join`, nowhere else.
#[derive(Serialize, Deserialize)]
#[serde(bound = "T: Spelling")]
pub(crate) struct Fields<T: Spelling> {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    enqueued_at: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    started_at: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    worker_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    server_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    succeeded_at: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    total_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    failed_at: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    exception: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    stack_trace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    deleted_at: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    scheduled_at: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    enqueue_at: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    retry_at: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    retry_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    last_exception: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    reason: Option<String>,
}

impl<T: Spelling> Fields<T> {
    fn none() -> Self {
        Self {
            enqueued_at: None,
            queue: None,
            started_at: None,
            worker_id: None,
            server_name: None,
            succeeded_at: None,
            total_duration: None,
            result: None,
            failed_at: None,
            exception: None,
            stack_trace: None,
            deleted_at: None,
            scheduled_at: None,
            enqueue_at: None,
            retry_at: None,
            retry_count: None,
            last_exception: None,
            reason: None,
        }
    }

    /// The fields of a state; `queue` is shown by an enqueued one where it is given.
    pub(crate) fn split(state: &State, queue: Option<&str>) -> Self {
        let at = |at: &Micros| Some(T::spell(*at));
        let text = |text: &Text| Some(text.to_string());
        let some = |text: &Option<Text>| text.as_deref().map(str::to_owned);
        let none = Self::none();
        match state {
            State::Enqueued { enqueued_at } => {
                Self { enqueued_at: at(enqueued_at), queue: queue.map(str::to_owned), ..none }
            }
            State::Processing { started_at, worker_id, server_name } => {
                Self { started_at: at(started_at), worker_id: text(worker_id), server_name: text(server_name), ..none }
            }
            State::Succeeded { succeeded_at, total_duration, result } => Self {
                succeeded_at: at(succeeded_at),
                total_duration: Some(*total_duration),
                result: result.as_ref().and_then(|json| RawValue::from_string(json.to_string()).ok()),
                ..none
            },
            State::Failed { failed_at, exception, stack_trace, retry_count } => Self {
                failed_at: at(failed_at),
                exception: text(exception),
                stack_trace: some(stack_trace),
                retry_count: Some(*retry_count),
                ..none
            },
            State::Deleted { deleted_at, reason } => Self { deleted_at: at(deleted_at), reason: some(reason), ..none },
            State::Scheduled { scheduled_at, enqueue_at, reason } => {
                Self { scheduled_at: at(scheduled_at), enqueue_at: at(enqueue_at), reason: text(reason), ..none }
            }
            State::AwaitingRetry { scheduled_at, retry_at, retry_count, last_exception } => Self {
                scheduled_at: at(scheduled_at),
                retry_at: at(retry_at),
                retry_count: Some(*retry_count),
                last_exception: text(last_exception),
                ..none
            },
        }
    }

    /// The state of that kind, every field checked.
    pub(crate) fn join(self, kind: Kind) -> Result<State, Error> {
        Ok(match kind {
            Kind::Enqueued => State::Enqueued { enqueued_at: instant("enqueued_at", self.enqueued_at)? },
            Kind::Processing => State::Processing {
                started_at: instant("started_at", self.started_at)?,
                worker_id: name("worker_id", self.worker_id)?,
                server_name: name("server_name", self.server_name)?,
            },
            Kind::Succeeded => State::Succeeded {
                succeeded_at: instant("succeeded_at", self.succeeded_at)?,
                total_duration: self
                    .total_duration
                    .filter(|&duration| i64::try_from(duration).is_ok())
                    .ok_or_else(|| Error::data("state.total_duration", "must be 0 to 2^63-1 milliseconds"))?,
                result: self.result.map(|json| result(json.get())).transpose()?,
            },
            Kind::Failed => State::Failed {
                failed_at: instant("failed_at", self.failed_at)?,
                exception: clip(&required("exception", self.exception)?),
                stack_trace: self.stack_trace.map(|text| clip(&text)),
                // The reference's failed state has no count.
                retry_count: count(self.retry_count)?,
            },
            Kind::Deleted => State::Deleted {
                deleted_at: instant("deleted_at", self.deleted_at)?,
                reason: self.reason.map(|text| clip(&text)),
            },
            Kind::Scheduled => State::Scheduled {
                scheduled_at: instant("scheduled_at", self.scheduled_at)?,
                enqueue_at: instant("enqueue_at", self.enqueue_at)?,
                reason: clip(&self.reason.unwrap_or_default()),
            },
            Kind::AwaitingRetry => State::AwaitingRetry {
                scheduled_at: instant("scheduled_at", self.scheduled_at)?,
                retry_at: instant("retry_at", self.retry_at)?,
                retry_count: count(self.retry_count)?,
                last_exception: clip(&required("last_exception", self.last_exception)?),
            },
        })
    }
}

fn required<T>(field: &str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::data(format!("state.{field}"), "is missing"))
}

fn instant<T: Spelling>(field: &str, value: Option<T>) -> Result<Micros, Error> {
    let at = required(field, value)?.at();
    if check_time(at) { Ok(at) } else { Err(Error::data(format!("state.{field}"), "must lie between 1970 and 2254")) }
}

fn name(field: &str, value: Option<String>) -> Result<Name, Error> {
    let text = required(field, value)?;
    check_name(&text).map_err(|reason| Error::data(format!("state.{field}"), reason))?;
    Ok(text.into())
}

fn count(value: Option<u32>) -> Result<u32, Error> {
    match value {
        Some(count) if i32::try_from(count).is_err() => Err(Error::data("state.retry_count", "must be 0 to 2^31-1")),
        count => Ok(count.unwrap_or(0)),
    }
}

fn result(json: &str) -> Result<Text, Error> {
    let refuse = |reason: &str| Error::data("state.result", reason);
    if has_wide_integer(json) {
        return Err(refuse("must not hold an integer outside -2^63 to 2^64-1"));
    }
    canonical(json, 1).map(Text::from).map_err(|reason| refuse(&reason))
}

/// A state's fields as compact JSON, instants in microseconds, without the queue: for stored records.
#[must_use]
pub fn state_to_compact(state: &State) -> String {
    serde_json::to_string(&Fields::<Micros>::split(state, None)).unwrap_or_default()
}

/// Reads what [`state_to_compact`] wrote.
///
/// # Errors
/// `Error::InvalidData` that names the field.
pub fn state_from_compact(kind: Kind, json: &str) -> Result<State, Error> {
    serde_json::from_str::<Fields<Micros>>(json).map_err(|error| Error::data("state", error.to_string()))?.join(kind)
}
