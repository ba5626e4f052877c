//! A whole job as JSON: the reference's shape, a flat object with an externally tagged state \[J12\].

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::error::Error;
use crate::job::{Body, Extras, Job, MAX_METADATA_KEYS};
use crate::json::{canonical, canonical_text_map, has_wide_integer};
use crate::name::{Name, check_name};
use crate::state::Kind;
use crate::state_json::{Fields, Rfc3339, Spelling};
use crate::time::check_time;

#[derive(Serialize)]
struct Out<'a> {
    id: &'a str,
    method: &'a str,
    arguments: &'a RawValue,
    created_at: Rfc3339,
    state: BTreeMap<&'static str, Fields<Rfc3339>>,
    queue: &'a str,
    priority: i32,
    max_retries: u32,
    metadata: &'a RawValue,
    job_type: Option<&'a str>,
    timeout_seconds: Option<u32>,
    attempt: u32,
    crash_count: u32,
    retry_count: u32,
    version: u64,
    sequence: u64,
}

/// The job as JSON text. Arguments and metadata go in as the texts that they are.
///
/// # Errors
/// `Error::Corrupt` where the stored text of the arguments is no JSON.
pub fn to_json(job: &Job) -> Result<String, Error> {
    let corrupt = |error: serde_json::Error| Error::Corrupt { id: job.body.id().into(), reason: error.to_string() };
    let out = Out {
        id: job.body.id(),
        method: job.body.method(),
        arguments: serde_json::from_str(job.body.arguments()).map_err(corrupt)?,
        created_at: Rfc3339::spell(job.body.created_at()),
        state: BTreeMap::from([(job.state.kind().tag(), Fields::split(&job.state, Some(&job.queue)))]),
        queue: &job.queue,
        priority: job.priority,
        max_retries: job.max_retries,
        metadata: serde_json::from_str(job.metadata().map_or("{}", |text| text)).map_err(corrupt)?,
        job_type: job.job_type().map(|name| &**name),
        timeout_seconds: job.timeout_seconds(),
        attempt: job.attempt,
        crash_count: job.crash_count,
        retry_count: job.retry_count,
        version: job.version,
        sequence: job.sequence,
    };
    serde_json::to_string(&out).map_err(corrupt)
}

#[derive(Deserialize)]
struct In<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    arguments: &'a RawValue,
    created_at: Rfc3339,
    state: Tagged,
    #[serde(default, deserialize_with = "present")]
    queue: Option<String>,
    #[serde(default)]
    priority: i32,
    #[serde(default)]
    max_retries: u32,
    #[serde(default)]
    metadata: Option<Pairs>,
    #[serde(borrow, default)]
    job_type: Option<Cow<'a, str>>,
    #[serde(default)]
    timeout_seconds: Option<u32>,
    #[serde(default)]
    attempt: u32,
    #[serde(default)]
    crash_count: u32,
    #[serde(default)]
    retry_count: u32,
    #[serde(default)]
    version: u64,
    #[serde(default)]
    sequence: u64,
}

/// A field that may be missing but not null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// `{"Processing": {…}}`: exactly one key.
struct Tagged(Kind, Fields<Rfc3339>);

impl<'de> Deserialize<'de> for Tagged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Map::<Fields<Rfc3339>>::deserialize(deserializer)?.0;
        let [(tag, fields)] = <[_; 1]>::try_from(map)
            .map_err(|_| serde::de::Error::custom("state must be an object of exactly one key, the variant"))?;
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| kind.tag() == tag)
            .ok_or_else(|| serde::de::Error::custom(format!("state has no variant {tag:?}")))?;
        Ok(Self(kind, fields))
    }
}

type Pairs = Map<String>;

/// An object's entries in their order; a later duplicate replaces the earlier one.
struct Map<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Map<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Map<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Map<T>, A::Error> {
                let mut entries: Vec<(String, T)> = Vec::new();
                let mut places = BTreeMap::new();
                while let Some((key, value)) = items.next_entry::<String, T>()? {
                    if let Some(&at) = places.get(&key) {
                        entries[at] = (key, value);
                    } else {
                        places.insert(key.clone(), entries.len());
                        entries.push((key, value));
                    }
                }
                Ok(Map(entries))
            }
        }
        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}

/// Reads a job; fields that the reference does not have may be missing, fields that nobody knows are passed over.
///
/// # Errors
/// `Error::InvalidData` that names the field.
pub fn from_json(text: &str) -> Result<Job, Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let input: In = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        // The path leads to the field; of the whole text there is none.
        let path = error.path().to_string();
        Error::data(if path == "." { "json".to_owned() } else { path }, error.into_inner().to_string())
    })?;
    reader.end().map_err(|error| Error::data("json", error.to_string()))?;
    let name = |field: &str, text: &str| -> Result<Name, Error> {
        check_name(text).map_err(|reason| Error::data(field, reason))?;
        Ok(text.into())
    };
    name("id", &input.id)?;
    name("method", &input.method)?;
    if !input.arguments.get().starts_with('[') {
        return Err(Error::data("arguments", "must be a list"));
    }
    if has_wide_integer(input.arguments.get()) {
        return Err(Error::data("arguments", "must not hold an integer outside -2^63 to 2^64-1"));
    }
    let arguments = canonical(input.arguments.get(), 0).map_err(|reason| Error::data("arguments", reason))?;
    let Tagged(kind, fields) = input.state;
    let queue = match (input.queue, &fields.queue) {
        (Some(queue), _) => name("queue", &queue)?,
        (None, Some(queue)) => name("queue", queue)?,
        (None, None) => "default".into(),
    };
    let ranged = |field: &str, number: u32, least: u32| {
        if number < least || i32::try_from(number).is_err() {
            return Err(Error::data(field, format!("must be {least} to 2^31-1")));
        }
        Ok(number)
    };
    let wide = |field: &str, number: u64| {
        i64::try_from(number).map_err(|_| Error::data(field, "must be 0 to 2^63-1"))?;
        Ok::<_, Error>(number)
    };
    let metadata = input.metadata.map_or_else(Vec::new, |map| map.0);
    if metadata.len() > MAX_METADATA_KEYS {
        return Err(Error::TooLarge {
            field: "metadata",
            size: metadata.len(),
            limit: MAX_METADATA_KEYS,
            unit: "keys",
        });
    }
    for (key, _) in &metadata {
        name("metadata key", key)?;
    }
    let extras = Extras {
        job_type: input.job_type.map(|text| name("job_type", &text)).transpose()?,
        timeout_seconds: input.timeout_seconds.map(|number| ranged("timeout_seconds", number, 1)).transpose()?,
        metadata: canonical_text_map(&metadata).map(Into::into),
    };
    debug_assert!(check_time(input.created_at.at()), "parse_time checks");
    Ok(Job {
        body: Body::new(&input.id, &input.method, &arguments, input.created_at.at())?,
        queue,
        state: fields.join(kind)?,
        extras: (extras != Extras::default()).then(|| extras.into()),
        priority: input.priority,
        max_retries: ranged("max_retries", input.max_retries, 0)?,
        attempt: ranged("attempt", input.attempt, 0)?,
        crash_count: ranged("crash_count", input.crash_count, 0)?,
        retry_count: ranged("retry_count", input.retry_count, 0)?,
        version: wide("version", input.version)?,
        sequence: wide("sequence", input.sequence)?,
    })
}
