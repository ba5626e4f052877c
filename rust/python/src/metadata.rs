//! A job's metadata: JSON text while nobody looks, a real dict from the first look on \[J7\].

use ferroq_core::{MAX_METADATA_KEYS, Text, canonical_text_map};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::errors::{Blame, raise};

/// Checks a dict of strings and writes it as JSON; None when it is empty.
pub(crate) fn encode(dict: &Bound<'_, PyDict>, blame: Blame<'_>) -> PyResult<Option<Text>> {
    if dict.is_empty() {
        return Ok(None);
    }
    let py = dict.py();
    if dict.len() > MAX_METADATA_KEYS {
        let message = format!("metadata of {} keys is over the limit of {MAX_METADATA_KEYS}", dict.len());
        return Err(raise(py, "PayloadTooLargeError", &message, None, blame.scope));
    }
    let mut map: Vec<(String, String)> = Vec::with_capacity(dict.len());
    for (key, value) in dict.iter() {
        let string = |field: &str, value: &Bound<'_, PyAny>| -> PyResult<String> {
            let text = value.cast::<PyString>().map_err(|_| blame.refuse(py, field, "must be a str"))?;
            let text = text.to_str().map_err(|_| blame.refuse(py, field, "must not contain lone surrogates"))?;
            Ok(text.to_owned())
        };
        let key = string("metadata key", &key)?;
        ferroq_core::check_name(&key).map_err(|reason| blame.refuse(py, &format!("metadata key {key:?}"), reason))?;
        if map.iter().any(|(other, _)| *other == key) {
            return Err(blame.refuse(py, &format!("metadata key {key:?}"), "must not be there twice"));
        }
        let value = string(&format!("metadata[{key:?}]"), &value)?;
        map.push((key, value));
    }
    Ok(canonical_text_map(&map).map(Text::from))
}

/// A fresh dict of what the text holds.
pub(crate) fn decode<'py>(py: Python<'py>, text: Option<&str>) -> Result<Bound<'py, PyDict>, String> {
    let Some(text) = text else { return Ok(PyDict::new(py)) };
    crate::json::decode(py, text)?.cast_into::<PyDict>().map_err(|_| "metadata is no JSON object".to_owned())
}
