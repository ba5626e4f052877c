//! Strings and numbers out of Python objects, each with the error that the contract names \[E2\].

use ferroq_core::{Name, Text};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDelta, PyDeltaAccess, PyFloat, PyInt, PyString};

use crate::errors::{Blame, wrong_type};

/// The text of a str. Subclasses are taken by their value; none of their methods is called.
pub(crate) fn text<'a>(field: &str, value: &'a Bound<'_, PyAny>, blame: Blame<'_>) -> PyResult<&'a str> {
    let string = value.cast::<PyString>().map_err(|_| wrong_type(field, "a str", value))?;
    string.to_str().map_err(|_| blame.refuse(value.py(), field, "must not contain lone surrogates"))
}

/// A name \[J1\].
pub(crate) fn name<'a>(field: &str, value: &'a Bound<'_, PyAny>, blame: Blame<'_>) -> PyResult<&'a str> {
    let text = text(field, value, blame)?;
    ferroq_core::check_name(text).map_err(|reason| blame.refuse(value.py(), field, reason))?;
    Ok(text)
}

/// A name to keep.
pub(crate) fn shared_name(field: &str, value: &Bound<'_, PyAny>, blame: Blame<'_>) -> PyResult<Name> {
    name(field, value, blame).map(Name::from)
}

/// An optional name to keep.
pub(crate) fn optional_name(field: &str, value: Option<&Bound<'_, PyAny>>, blame: Blame<'_>) -> PyResult<Option<Name>> {
    value.filter(|value| !value.is_none()).map(|value| shared_name(field, value, blame)).transpose()
}

/// An optional text, cut to what states keep \[S3\].
pub(crate) fn optional_clipped(
    field: &str,
    value: Option<&Bound<'_, PyAny>>,
    blame: Blame<'_>,
) -> PyResult<Option<Text>> {
    value.filter(|value| !value.is_none()).map(|value| text(field, value, blame).map(ferroq_core::clip)).transpose()
}

/// An int of a range; a bool is none.
pub(crate) fn int(field: &str, value: &Bound<'_, PyAny>, least: i64, most: i64, blame: Blame<'_>) -> PyResult<i64> {
    let refuse = |reason: &str| blame.refuse(value.py(), field, reason);
    if value.is_instance_of::<PyBool>() {
        return Err(refuse("must be an int, not a bool"));
    }
    let number = value.cast::<PyInt>().map_err(|_| wrong_type(field, "an int", value))?;
    match number.extract::<i64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        // Whatever does not fit 64 bits is out of range as well.
        _ => Err(refuse(&format!("must be {least} to {most}"))),
    }
}

/// An int that a signed 32-bit field holds.
pub(crate) fn int32(field: &str, value: &Bound<'_, PyAny>, least: i32, blame: Blame<'_>) -> PyResult<i32> {
    let number = int(field, value, least.into(), i32::MAX.into(), blame)?;
    i32::try_from(number).map_err(|_| blame.refuse(value.py(), field, "must fit 32 bits"))
}

/// An int of 0 or `least` to 2^31-1.
pub(crate) fn count(field: &str, value: &Bound<'_, PyAny>, least: i32, blame: Blame<'_>) -> PyResult<u32> {
    let number = int32(field, value, least, blame)?;
    u32::try_from(number).map_err(|_| blame.refuse(value.py(), field, "must not be negative"))
}

/// Seconds as an int or a float, in whole microseconds, rounded up so that a length is never shorter than asked for.
pub(crate) fn seconds(field: &str, value: &Bound<'_, PyAny>, least: f64, most: f64, blame: Blame<'_>) -> PyResult<i64> {
    let refuse = |reason: &str| blame.refuse(value.py(), field, reason);
    if value.is_instance_of::<PyBool>() {
        return Err(refuse("must be a number of seconds, not a bool"));
    }
    let seconds = if let Ok(float) = value.cast::<PyFloat>() {
        float.value()
    } else if value.is_instance_of::<PyInt>() {
        // An int beyond the doubles is out of range as well.
        value.extract::<i64>().map_or(f64::INFINITY, |number| {
            #[allow(clippy::cast_precision_loss, reason = "seconds beyond 2^53 are out of range")]
            let seconds = number as f64;
            seconds
        })
    } else {
        return Err(wrong_type(field, "an int or a float of seconds", value));
    };
    if seconds.is_nan() {
        return Err(refuse("must be a number of seconds, not NaN"));
    }
    if !(least..=most).contains(&seconds) {
        return Err(refuse(&format!("must be {least} to {most} seconds")));
    }
    #[allow(clippy::cast_possible_truncation, reason = "the range was checked just above")]
    let micros = (seconds * 1e6).ceil() as i64;
    Ok(micros)
}

/// Seconds, or a timedelta.
pub(crate) fn seconds_or_delta(
    field: &str,
    value: &Bound<'_, PyAny>,
    least: f64,
    most: f64,
    blame: Blame<'_>,
) -> PyResult<i64> {
    let Ok(delta) = value.cast::<PyDelta>() else { return seconds(field, value, least, most, blame) };
    // A timedelta reaches far beyond what 64 bits of microseconds hold.
    let whole = i64::from(delta.get_days()) * 86_400 + i64::from(delta.get_seconds());
    #[allow(clippy::cast_precision_loss, reason = "only compared with the range")]
    let length = whole as f64 + f64::from(delta.get_microseconds()) / 1e6;
    if !(least..=most).contains(&length) {
        return Err(blame.refuse(value.py(), field, &format!("must be {least} to {most} seconds")));
    }
    Ok(whole * 1_000_000 + i64::from(delta.get_microseconds()))
}

/// An argument that may be left out but, unlike an `Option`, is not taken for left out when it is None.
pub(crate) struct Given<'py>(pub(crate) Option<Bound<'py, PyAny>>);

/// The default in a signature.
pub(crate) const ABSENT: Given<'static> = Given(None);

impl<'py> FromPyObject<'_, 'py> for Given<'py> {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self(Some(value.to_owned())))
    }
}
