//! Python values to JSON text and back \[J3\].
//!
//! Values are read through the C structures of the base types: of a subclass no method is called, so nothing of the user's
//! runs while its data is encoded.

use std::collections::HashSet;
use std::fmt;

use ferroq_core::{MAX_DEPTH, Writer};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Why a value cannot be encoded, and where in it.
pub(crate) struct Problem {
    path: String,
    reason: String,
}

impl Problem {
    fn new(reason: impl Into<String>) -> Self {
        Self { path: String::new(), reason: reason.into() }
    }

    fn within(mut self, step: &str) -> Self {
        self.path.insert_str(0, step);
        self
    }

    /// The field's name with the path, and the reason.
    pub(crate) fn parts(&self, field: &str) -> (String, &str) {
        (format!("{field}{}", self.path), &self.reason)
    }
}

/// Writes a value. `depth` is that of its own container, if it is one: 0 for the list of arguments, 1 for a result.
pub(crate) fn encode(value: &Bound<'_, PyAny>, depth: usize, writer: &mut Writer) -> Result<(), Problem> {
    if let Ok(string) = value.cast::<PyString>() {
        writer.string(string.to_str().map_err(|_| Problem::new("must not contain lone surrogates"))?);
    } else if let Ok(flag) = value.cast::<PyBool>() {
        // Before int, of which bool is a subclass.
        writer.raw(if flag.is_true() { "true" } else { "false" });
    } else if value.is_instance_of::<PyInt>() {
        if let Ok(number) = value.extract::<i64>() {
            writer.signed(number);
        } else if let Ok(number) = value.extract::<u64>() {
            writer.unsigned(number);
        } else {
            return Err(Problem::new("must be an integer from -2^63 to 2^64-1"));
        }
    } else if let Ok(float) = value.cast::<PyFloat>() {
        if !writer.float(float.value()) {
            return Err(Problem::new("must not be NaN or infinite"));
        }
    } else if value.is_none() {
        writer.raw("null");
    } else if let Ok(list) = value.cast::<PyList>() {
        encode_items(list.len(), |at| list.get_item(at).ok(), depth, writer)?;
    } else if let Ok(tuple) = value.cast::<PyTuple>() {
        encode_items(tuple.len(), |at| tuple.get_item(at).ok(), depth, writer)?;
    } else if let Ok(dict) = value.cast::<PyDict>() {
        encode_dict(dict, depth, writer)?;
    } else {
        let name = value.get_type().name().map_or_else(|_| "another type".to_owned(), |name| name.to_string());
        return Err(Problem::new(format!("must be a JSON value, not {name}")));
    }
    Ok(())
}

fn check_depth(depth: usize) -> Result<(), Problem> {
    if depth > MAX_DEPTH {
        return Err(Problem::new(format!("must not be nested deeper than {MAX_DEPTH}")));
    }
    Ok(())
}

fn encode_items<'py>(
    length: usize,
    item: impl Fn(usize) -> Option<Bound<'py, PyAny>>,
    depth: usize,
    writer: &mut Writer,
) -> Result<(), Problem> {
    check_depth(depth)?;
    writer.raw("[");
    for at in 0..length {
        // Another thread may shorten a list meanwhile on an interpreter without a GIL.
        let Some(value) = item(at) else { break };
        if at > 0 {
            writer.raw(",");
        }
        encode(&value, depth + 1, writer).map_err(|problem| problem.within(&format!("[{at}]")))?;
    }
    writer.raw("]");
    Ok(())
}

fn encode_dict(dict: &Bound<'_, PyDict>, depth: usize, writer: &mut Writer) -> Result<(), Problem> {
    check_depth(depth)?;
    writer.raw("{");
    let mut seen = None;
    for (at, (key, value)) in dict.iter().enumerate() {
        if at > 0 {
            writer.raw(",");
        }
        let key = key.cast::<PyString>().map_err(|_| Problem::new("must have only str keys"))?;
        let name = key.to_str().map_err(|_| Problem::new("must not contain lone surrogates in a key"))?;
        // Only subclasses with an equality of their own can bring one text twice into a dict.
        if seen.is_some() || !key.is_exact_instance_of::<PyString>() {
            let seen = seen.get_or_insert_with(HashSet::new);
            for (earlier, _) in dict.iter().take(if seen.is_empty() { at } else { 0 }) {
                seen.extend(earlier.cast::<PyString>().ok().map(|earlier| earlier.to_string_lossy().into_owned()));
            }
            if !seen.insert(name.to_owned()) {
                return Err(Problem::new(format!("must not have the key {name:?} twice")));
            }
        }
        writer.string(name);
        writer.raw(":");
        encode(&value, depth + 1, writer).map_err(|problem| problem.within(&format!("[{name:?}]")))?;
    }
    writer.raw("}");
    Ok(())
}

/// Reads JSON text into fresh Python values.
pub(crate) fn decode<'py>(py: Python<'py>, text: &str) -> Result<Bound<'py, PyAny>, String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Value(py).deserialize(&mut reader).map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())?;
    Ok(value)
}

struct Value<'py>(Python<'py>);

impl<'py> Value<'py> {
    fn make<T: IntoPyObject<'py>, E: serde::de::Error>(&self, value: T) -> Result<Bound<'py, PyAny>, E> {
        value.into_bound_py_any(self.0).map_err(E::custom)
    }
}

impl<'de, 'py> DeserializeSeed<'de> for Value<'py> {
    type Value = Bound<'py, PyAny>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de, 'py> Visitor<'de> for Value<'py> {
    type Value = Bound<'py, PyAny>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(self.0.None().into_bound(self.0))
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
        self.make(value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
        self.make(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
        self.make(value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Self::Value, E> {
        self.make(value)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
        self.make(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let list = PyList::empty(self.0);
        while let Some(item) = items.next_element_seed(Value(self.0))? {
            list.append(item).map_err(A::Error::custom)?;
        }
        Ok(list.into_any())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let dict = PyDict::new(self.0);
        while let Some(key) = items.next_key::<std::borrow::Cow<'de, str>>()? {
            let value = items.next_value_seed(Value(self.0))?;
            dict.set_item(&*key, value).map_err(A::Error::custom)?;
        }
        Ok(dict.into_any())
    }
}
