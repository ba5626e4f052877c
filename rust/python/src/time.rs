//! Instants and datetimes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Datelike, Timelike, Utc};
use ferroq_core::{MAX_TIME, Micros, check_time};
use pyo3::prelude::*;
use pyo3::types::{PyDateAccess, PyDateTime, PyTimeAccess, PyTzInfo, PyTzInfoAccess};

use crate::errors::{Blame, wrong_type};

/// This machine's clock.
pub(crate) fn wall() -> Micros {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Whole microseconds of a length, without the 128-bit arithmetic of `Duration::as_micros`.
pub(crate) fn micros(length: Duration) -> Micros {
    let seconds = Micros::try_from(length.as_secs()).unwrap_or(Micros::MAX);
    seconds.saturating_mul(1_000_000).saturating_add(length.subsec_micros().into()).min(MAX_TIME)
}

/// An aware datetime in UTC.
pub(crate) fn to_datetime(py: Python<'_>, at: Micros) -> PyResult<Bound<'_, PyDateTime>> {
    let at = DateTime::<Utc>::from_timestamp_micros(at).unwrap_or_default();
    let part = |number: u32| u8::try_from(number).unwrap_or_default();
    PyDateTime::new(
        py,
        at.year(),
        part(at.month()),
        part(at.day()),
        part(at.hour()),
        part(at.minute()),
        part(at.second()),
        at.timestamp_subsec_micros(),
        Some(&*PyTzInfo::utc(py)?),
    )
}

/// The instant of an aware datetime of any zone.
pub(crate) fn from_datetime(field: &str, value: &Bound<'_, PyAny>, blame: Blame<'_>) -> PyResult<Micros> {
    let py = value.py();
    let refuse = |reason: &str| blame.refuse(py, field, reason);
    let given = value.cast::<PyDateTime>().map_err(|_| wrong_type(field, "a datetime", value))?;
    // A time zone may decline to know its offset: such a datetime is naive too.
    if given.get_tzinfo().is_none() || given.call_method0("utcoffset")?.is_none() {
        return Err(refuse("must be an aware datetime, not a naive one"));
    }
    let utc = PyTzInfo::utc(py)?;
    let moved = given.call_method1("astimezone", (&*utc,)).map_err(|_| refuse("must lie between 1970 and 2254"))?;
    let at = moved.cast::<PyDateTime>().map_err(|_| wrong_type(field, "a datetime", value))?;
    let date = chrono::NaiveDate::from_ymd_opt(at.get_year(), at.get_month().into(), at.get_day().into());
    let instant = date
        .and_then(|date| {
            date.and_hms_micro_opt(
                at.get_hour().into(),
                at.get_minute().into(),
                at.get_second().into(),
                at.get_microsecond(),
            )
        })
        .map(|instant| instant.and_utc().timestamp_micros());
    match instant {
        Some(instant) if check_time(instant) => Ok(instant),
        _ => Err(refuse("must lie between 1970 and 2254")),
    }
}
