//! Jobs to the bytes that the Redis scripts keep, and back, in one crossing each way. The layout is described in
//! `lua/lib/record.lua`.
#![allow(clippy::needless_pass_by_value, reason = "what is extracted from Python comes by value")]

use std::collections::HashSet;

use ferroq_core::{
    Body, ClaimLock, Error, Extras, Job as Record, Kind, MAX_NAME, Micros, Name, Text, Token, check_name, check_time,
    state_from_compact, state_to_compact,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::errors::{Scope, convert, is_storage_error};
use crate::job::Job;
use crate::rows::Written;

/// Jobs of one script \[Q12, Q13\].
const MOST: usize = 1_000;
/// Bytes of one script, its first job apart.
const MOST_BYTES: usize = 16 * 1024 * 1024;

const FORMAT: u8 = 1;
/// What `update` tells of a job apart from what it is to be stored as: its sequence, how the record is to begin, length of the
/// worker, due, `retry_count`, and how the record begins if the claim is as its holder knows it.
const LETTER: usize = 63;
/// Format, kind, version, attempt, `crash_count`.
const FRONT: usize = 14;
/// Where the front stands in a letter, and where the token.
const FRONT_AT: usize = 6;
const TOKEN_AT: usize = 47;
/// Sequences of which the marks lie in one string.
const CHUNK: u64 = 256;
/// Where the names begin.
const FIXED: usize = 70;
/// Of a fresh enqueued job the script knows all up to here.
const FRESH: usize = 52;
/// `max_retries`, time-out, length of the job type.
const SPEC: usize = 9;
/// An answer of `update`.
const VERDICT: usize = 52;
/// Stands for arguments that are not even UTF-8: no JSON, so that reading them says so \[E3\].
const NOT_TEXT: &str = "\0";

const _: () = assert!(MAX_NAME <= u8::MAX as usize, "lengths of names are kept in a byte");

/// A job at the moment of the call.
struct Snapshot {
    record: Record,
    /// Token and expiry; zeros without a claim.
    lock: (u64, Micros),
    state: String,
}

fn snapshot(py: Python<'_>, job: &Job, max_payload_bytes: usize, scope: Scope<'_>) -> PyResult<Snapshot> {
    let (record, lock) = job.snapshot(py, scope)?;
    record.check_size(max_payload_bytes).map_err(|error| convert(py, &error, scope))?;
    let state = state_to_compact(&record.state);
    Ok(Snapshot { record, lock: lock.map_or((0, 0), |lock| (lock.token.get(), lock.expires_at)), state })
}

impl Snapshot {
    fn kind(&self) -> Kind {
        self.record.state.kind()
    }

    /// About how many bytes it takes in a request.
    fn size(&self) -> usize {
        let metadata = self.record.metadata().map_or(0, |text| text.len());
        self.record.body.arguments().len() + self.state.len() + metadata + 128
    }

    /// What the script goes by when it updates the job.
    fn pack_letter(&self, out: &mut Vec<u8>) {
        let state = &self.record.state;
        out.extend(place(self.record.sequence));
        self.pack_front(out, self.kind(), self.record.version.saturating_add(1));
        out.push(short(state.worker().map_or("", AsRef::<str>::as_ref)));
        out.extend(state.own_due().unwrap_or(0).to_be_bytes());
        out.extend(state.own_retry_count().unwrap_or(0).to_be_bytes());
        self.pack_front(out, Kind::Processing, self.record.version);
        out.extend(self.lock.0.to_be_bytes());
        out.extend(self.lock.1.to_be_bytes());
    }

    fn pack_front(&self, out: &mut Vec<u8>, kind: Kind, version: u64) {
        out.extend([FORMAT, kind as u8]);
        out.extend(stored_version(version));
        out.extend(self.record.attempt.to_be_bytes());
        out.extend(self.record.crash_count.to_be_bytes());
    }

    /// The whole record of a new job, not under a claim.
    fn pack(&self, out: &mut Vec<u8>) {
        let record = &self.record;
        out.clear();
        out.extend([FORMAT, self.kind() as u8]);
        out.extend(1_u32.to_be_bytes()); // version
        out.extend(u32::from(self.kind() == Kind::Processing).to_be_bytes()); // attempt
        out.extend([0; 4 + 16]); // crash_count, token, expires
        out.push(short(record.state.worker().map_or("", AsRef::<str>::as_ref)));
        out.extend([0; 13]); // the trace of a settlement
        out.extend(record.state.own_due().unwrap_or(0).to_be_bytes());
        out.extend(record.state.own_retry_count().unwrap_or(0).to_be_bytes());
        out.extend(size(record.body.method().len() + record.body.arguments().len()));
        self.pack_rest(out);
    }

    /// What a record has behind its first 60 bytes: what `update` replaces.
    fn pack_rest(&self, out: &mut Vec<u8>) {
        let record = &self.record;
        let (id, queue) = (record.body.id(), record.queue.as_ref() as &str);
        let worker = record.state.worker().map_or("", AsRef::<str>::as_ref);
        let job_type = record.job_type().map_or("", AsRef::<str>::as_ref);
        let metadata = record.metadata().map_or("", AsRef::<str>::as_ref);
        let head = FIXED + id.len() + queue.len() + SPEC + job_type.len() + metadata.len();
        out.extend(record.priority.to_be_bytes());
        out.extend(size(head));
        out.extend([short(id), short(queue)]);
        out.extend(id.as_bytes());
        out.extend(queue.as_bytes());
        out.extend(record.max_retries.to_be_bytes());
        out.extend(record.timeout_seconds().unwrap_or(0).to_be_bytes());
        out.push(short(job_type));
        for text in [job_type, metadata, worker, &self.state] {
            out.extend(text.as_bytes());
        }
    }

    /// What never changes, but for the sequence, which the script puts in front.
    fn pack_body(&self, out: &mut Vec<u8>) {
        let body = &self.record.body;
        out.clear();
        out.extend(body.created_at().to_be_bytes());
        out.push(short(body.method()));
        out.extend(body.method().as_bytes());
        out.extend(body.arguments().as_bytes());
    }
}

/// A version that is stored is never larger than 32 bits.
fn stored_version(version: u64) -> [u8; 4] {
    u32::try_from(version).unwrap_or(u32::MAX).to_be_bytes()
}

/// The length of a name.
fn short(name: &str) -> u8 {
    u8::try_from(name.len()).unwrap_or(u8::MAX) // no name is longer: see the assertion above
}

fn size(bytes: usize) -> [u8; 4] {
    // No request of four gigabytes gets as far as the server.
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

/// Six bytes; those of no job for a sequence that this store cannot have given.
fn place(sequence: u64) -> [u8; 6] {
    let [0, 0, place @ ..] = sequence.to_be_bytes() else { return [0; 6] };
    place
}

/// Jobs whose sequences follow each other in a chunk and whose claims end at one time, as the scripts keep them: the first
/// sequence, and a byte that counts the others.
fn sequences(jobs: &[(usize, Snapshot)]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    let mut before = None;
    for (_, job) in jobs {
        let (sequence, expires_at) = (job.record.sequence, job.lock.1);
        if before == Some((sequence.wrapping_sub(1), expires_at)) && sequence % CHUNK != 0 {
            if let Some(others) = out.last_mut() {
                *others += 1; // at most 255: a chunk has no more
            }
        } else {
            out.extend(place(sequence));
            out.push(0);
        }
        before = Some((sequence, expires_at));
    }
    out
}

/// Splits into what fits one script each; with `distinct` no id comes twice in a run.
fn runs(jobs: &[(usize, Snapshot)], distinct: bool) -> Vec<&[(usize, Snapshot)]> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, (_, job)) in jobs.iter().enumerate() {
        let here = job.size();
        let twice = distinct && jobs.len() > 1 && !seen.insert(job.record.body.id());
        if at > from && (at - from >= MOST || bytes + here > MOST_BYTES || twice) {
            found.push(&jobs[from..at]);
            (from, bytes) = (at, 0);
            seen.clear();
            seen.insert(job.record.body.id());
        }
        bytes += here;
    }
    if from < jobs.len() {
        found.push(&jobs[from..]);
    }
    found
}

/// What `enqueue` sends, run by run; see `NewRun` in the stub.
#[pyfunction]
pub(crate) fn pack_new<'py>(
    py: Python<'py>,
    jobs: Vec<Bound<'py, Job>>,
    max_payload_bytes: usize,
    backend: &str,
    operation: &str,
) -> PyResult<Bound<'py, PyList>> {
    let scope = Scope { backend: Some(backend), operation: Some(operation) };
    let jobs: Vec<_> = (jobs.iter().enumerate())
        .map(|(at, job)| Ok((at, snapshot(py, job.get(), max_payload_bytes, scope)?)))
        .collect::<PyResult<_>>()?;
    let list = PyList::empty(py);
    let mut buffer = Vec::with_capacity(512);
    for run in runs(&jobs, false) {
        let mut seen = HashSet::new();
        let (mut places, mut twice, mut kinds) = (Vec::new(), Vec::new(), String::new());
        let cells = PyList::empty(py);
        for (at, job) in run {
            let id = job.record.body.id();
            if run.len() > 1 && !seen.insert(id) {
                twice.push(id);
                continue;
            }
            let kind = job.kind();
            places.push(*at);
            kinds.push(char::from(b'0' + kind as u8));
            job.pack(&mut buffer);
            let from = if kind == Kind::Enqueued { FRESH } else { 0 };
            cells.append(PyBytes::new(py, &buffer[from..]))?;
            job.pack_body(&mut buffer);
            cells.append(PyBytes::new(py, &buffer))?;
        }
        let first = &run[0].1.record;
        let one = run.iter().all(|(_, job)| job.record.queue == first.queue && job.record.priority == first.priority);
        let (queue, rank) = if one {
            (first.queue.as_ref() as &str, (-i64::from(first.priority)).to_string())
        } else {
            ("", String::new())
        };
        list.append((places, twice, kinds, queue, rank, cells))?;
    }
    Ok(list)
}

/// Writes back what an accepted enqueue made of a run's jobs; `flags` says which were stored. Those places.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "a run and the parts of its answer")]
pub(crate) fn accept_new(
    py: Python<'_>,
    jobs: Vec<Bound<'_, Job>>,
    places: Vec<usize>,
    kinds: &str,
    cells: Vec<Bound<'_, PyBytes>>,
    flags: &[u8],
    mut sequence: u64,
    mut token: u64,
    expires_at: Micros,
) -> PyResult<Vec<usize>> {
    if flags.len() != places.len() {
        return Err(PyValueError::new_err("the answer is not one of so many jobs"));
    }
    let mut stored = Vec::with_capacity(places.len());
    for (((at, kind), cell), flag) in places.into_iter().zip(kinds.bytes()).zip(cells.iter().step_by(2)).zip(flags) {
        let Some(job) = jobs.get(at).filter(|_| *flag == b'1') else { continue };
        let claimed = kind == b'0' + Kind::Processing as u8;
        let retry_count = if kind == b'0' { 0 } else { read_u32(cell.as_bytes(), FRESH).unwrap_or(0) };
        let lock = claimed.then_some((token, expires_at));
        token += u64::from(claimed);
        let attempt = u32::from(claimed);
        let written = Written { version: 1, sequence, attempt, crash_count: 0, retry_count, lock, state: None };
        written.to(py, job.get());
        sequence += 1;
        stored.push(at);
    }
    Ok(stored)
}

/// What `update` sends, run by run, and the errors of jobs that cannot be sent; see `UpdateRun` in the stub. `unkept`: the
/// digits of the kinds that are not kept.
#[pyfunction]
pub(crate) fn pack_updates<'py>(
    py: Python<'py>,
    jobs: Vec<Bound<'py, Job>>,
    max_payload_bytes: usize,
    unkept: &str,
    backend: &str,
    operation: &str,
) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>)> {
    let scope = Scope { backend: Some(backend), operation: Some(operation) };
    let errors = PyList::empty(py);
    let mut sound = Vec::with_capacity(jobs.len());
    for (at, job) in jobs.iter().enumerate() {
        match snapshot(py, job.get(), max_payload_bytes, scope) {
            Ok(job) => sound.push((at, job)),
            Err(error) if is_storage_error(py, &error)? => errors.append((at, error.into_value(py)))?,
            Err(error) => return Err(error),
        }
    }
    let list = PyList::empty(py);
    let mut buffer = Vec::with_capacity(512);
    for run in runs(&sound, true) {
        // A token answers for its own re-send, unless the job is gone by then or there was none.
        let remember = run.iter().any(|(_, job)| {
            let kind = job.kind();
            job.lock.0 == 0 || kind == Kind::Processing || unkept.as_bytes().contains(&(b'0' + kind as u8))
        });
        let first = run[0].1.kind();
        let plain = !remember
            && matches!(first, Kind::Succeeded | Kind::Deleted)
            && run.iter().all(|(_, job)| job.kind() == first);
        let soonest = run.iter().map(|(_, job)| job.lock.1).min().filter(|_| plain);
        let mut letter = Vec::with_capacity(LETTER * run.len());
        let rests = PyList::empty(py);
        for (_, job) in run {
            job.pack_letter(&mut letter);
            buffer.clear();
            job.pack_rest(&mut buffer);
            rests.append(PyBytes::new(py, &buffer))?;
        }
        let places: Vec<_> = run.iter().map(|(at, _)| at).collect();
        let runs = if plain { sequences(run) } else { Vec::new() };
        let front = |letter: &[u8]| letter[FRONT_AT..FRONT_AT + FRONT].to_vec();
        let common = front(&letter);
        let common = if letter.chunks_exact(LETTER).all(|own| front(own) == common) { &common[..] } else { &[] };
        let [letter, runs, common] = [&letter[..], &runs, common].map(|bytes| PyBytes::new(py, bytes));
        list.append((places, remember, soonest, letter, runs, common, rests))?;
    }
    Ok((errors, list))
}

/// Writes back what `update` made of a run's jobs. Place and code of those that it refused.
#[pyfunction]
pub(crate) fn accept_updates(
    py: Python<'_>,
    jobs: Vec<Bound<'_, Job>>,
    places: Vec<usize>,
    letter: &[u8],
    answer: &[u8],
) -> PyResult<Vec<(usize, u8)>> {
    let strange = || PyValueError::new_err("the answer is not one of so many jobs");
    if letter.len() != LETTER * places.len() {
        return Err(strange());
    }
    let sent = places.iter().zip(letter.chunks_exact(LETTER));
    if answer.is_empty() {
        // All are settled as their holder knew them.
        for (&at, own) in sent {
            let version = read_u32(own, FRONT_AT + 2).ok_or_else(strange)?;
            jobs.get(at).ok_or_else(strange)?.get().with_record(py, |record, lock| {
                record.version = version.into();
                *lock = None;
            });
        }
        return Ok(Vec::new());
    }
    if answer.len() != VERDICT * places.len() {
        return Err(strange());
    }
    let mut refused = Vec::new();
    for ((&at, own), cell) in sent.zip(answer.chunks_exact(VERDICT)) {
        if cell[0] != 0 {
            refused.push((at, cell[0]));
            continue;
        }
        let read = || {
            let holds = own[FRONT_AT + 1] == Kind::Processing as u8 && read_u64(own, TOKEN_AT)? > 0;
            let token = read_u64(cell, 13)?;
            Some(Written {
                version: read_u32(cell, 1)?.into(),
                sequence: read_u48(cell, 45)?,
                attempt: read_u32(cell, 5)?,
                crash_count: read_u32(cell, 9)?,
                retry_count: read_u32(cell, 37)?,
                lock: if (holds || cell[51] != 0) && token > 0 { Some((token, read_micros(cell, 21)?)) } else { None },
                state: None,
            })
        };
        read().ok_or_else(strange)?.to(py, jobs.get(at).ok_or_else(strange)?.get());
    }
    Ok(refused)
}

/// The jobs of a claim, and what to tell `spoil` of those that cannot be decoded, three a job. `cells` are records and
/// bodies; the record is empty of a job that is lost again.
#[pyfunction]
pub(crate) fn unpack_claim<'py>(
    py: Python<'py>,
    first: u64,
    order: &[u8],
    cells: Vec<Bound<'py, PyBytes>>,
) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>)> {
    let (jobs, broken) = (PyList::empty(py), PyList::empty(py));
    let mut queue = None;
    for ((sequence, cell), token) in order.chunks_exact(6).zip(cells.chunks_exact(2)).zip(first..) {
        let (record, body) = (cell[0].as_bytes(), cell[1].as_bytes());
        if record.is_empty() {
            continue;
        }
        let own = body.get(..6) == Some(sequence);
        let found = if own { unpack(py, record, body, true, &mut queue).ok() } else { None };
        if let Some((record, lock)) = found {
            jobs.append(Bound::new(py, Job::from_record(record, lock))?)?;
        } else {
            broken.append(PyBytes::new(py, sequence))?;
            broken.append(token)?;
            broken.append(u8::from(!own))?;
        }
    }
    Ok((jobs, broken))
}

/// Jobs out of cells, three a job: its sequence, its record, its body. One that cannot be decoded gives a `CorruptJobError`
/// in its place, under `name`, or as the bytes name it.
#[pyfunction]
pub(crate) fn unpack_records<'py>(
    py: Python<'py>,
    cells: Vec<Bound<'py, PyBytes>>,
    name: Option<&str>,
    backend: &str,
    operation: &str,
) -> PyResult<Bound<'py, PyList>> {
    let scope = Scope { backend: Some(backend), operation: Some(operation) };
    let jobs = PyList::empty(py);
    let mut queue = None;
    for cell in cells.chunks_exact(3) {
        let (sequence, record, body) = (cell[0].as_bytes(), cell[1].as_bytes(), cell[2].as_bytes());
        match unpack(py, record, body, false, &mut queue) {
            Ok((record, lock)) => jobs.append(Bound::new(py, Job::from_record(record, lock))?)?,
            Err(reason) => {
                let id = name.map_or_else(|| name_of(sequence, record, body), Text::from);
                jobs.append(convert(py, &Error::Corrupt { id, reason }, scope).into_value(py))?;
            }
        }
    }
    Ok(jobs)
}

/// How to call a record that cannot be decoded: by its id where the body vouches for it, else by its sequence.
fn name_of(sequence: &[u8], record: &[u8], body: &[u8]) -> Text {
    let vouched = body.get(..6) == Some(sequence);
    let id = record.get(68).and_then(|&length| text(record, FIXED, length.into()).ok());
    match id.filter(|id| vouched && check_name(id).is_ok()) {
        Some(id) => id.into(),
        None => format!("#{}", read_u48(sequence, 0).unwrap_or(0)).into(),
    }
}

/// A job out of its two halves, everything checked; with `claimed` the caller holds the claim that the record shows.
/// `queue` is the queue of the job before, which most jobs share.
fn unpack(
    py: Python<'_>,
    record: &[u8],
    body: &[u8],
    claimed: bool,
    queue: &mut Option<Name>,
) -> Result<(Record, Option<ClaimLock>), String> {
    let cut = || "it is cut short".to_owned();
    let number = |at| read_u32(record, at).ok_or_else(cut);
    let count = |field: &str, at| {
        let value = number(at)?;
        if i32::try_from(value).is_ok() { Ok(value) } else { Err(format!("{field} must be 0 to 2^31-1")) }
    };
    if record.len() < FIXED {
        return Err(cut());
    }
    if record[0] != FORMAT {
        return Err(format!("format {}", record[0]));
    }
    let kind = Kind::from_number(record[1]).ok_or("kind must be 0 to 6")?;
    let head = usize::try_from(number(64)?).map_err(|_| cut())?;
    let (id, queue_at) = (text(record, FIXED, record[68].into())?, FIXED + usize::from(record[68]));
    let queue_name = text(record, queue_at, record[69].into())?;
    let spec = queue_at + usize::from(record[69]);
    let type_length = usize::from(*record.get(spec + 8).ok_or_else(cut)?);
    let type_at = spec + SPEC;
    let metadata_at = type_at + type_length;
    let job_type = text(record, type_at, type_length)?;
    let metadata = text(record, metadata_at, head.checked_sub(metadata_at).ok_or_else(cut)?)?;
    let state_at = head + usize::from(record[30]);
    let state = text(record, state_at, record.len().checked_sub(state_at).ok_or_else(cut)?)?;
    let state = state_from_compact(kind, state).map_err(|error| error.to_string())?;

    let sequence = read_u48(body, 0).ok_or_else(cut)?;
    let created_at =
        read_micros(body, 6).filter(|&at| check_time(at)).ok_or("created_at must lie between 1970 and 2254")?;
    let method_length = usize::from(*body.get(14).ok_or_else(cut)?);
    let method = text(body, 15, method_length)?;
    let arguments = std::str::from_utf8(&body[15 + method_length..]).unwrap_or(NOT_TEXT);
    named("id", id)?;
    named("method", method)?;
    let body = Body::new(id, method, arguments, created_at).map_err(|error| error.to_string())?;

    let queue = match queue {
        Some(queue) if queue.as_ref() == queue_name => queue.clone(),
        _ => {
            named("queue", queue_name)?;
            queue.insert(queue_name.into()).clone()
        }
    };
    let extras = Extras {
        job_type: if job_type.is_empty() { None } else { Some(named("job_type", job_type)?.into()) },
        timeout_seconds: Some(count("timeout_seconds", spec + 4)?).filter(|&seconds| seconds > 0),
        metadata: if metadata.is_empty() {
            None
        } else {
            crate::metadata::decode(py, Some(metadata)).map_err(|reason| format!("metadata {reason}"))?;
            Some(metadata.into())
        },
    };
    let lock = match (claimed, state.worker()) {
        (true, Some(worker)) => {
            let expires_at = read_micros(record, 22).ok_or("expires must lie before 2^63")?;
            Token::new(read_u64(record, 14).ok_or_else(cut)?).map(|token| ClaimLock {
                token,
                expires_at,
                worker_id: worker.clone(),
            })
        }
        _ => None,
    };
    let record = Record {
        body,
        queue,
        state,
        extras: (extras != Extras::default()).then(|| extras.into()),
        priority: number(60)?.cast_signed(),
        max_retries: count("max_retries", spec)?,
        attempt: count("attempt", 6)?,
        crash_count: count("crash_count", 10)?,
        retry_count: count("retry_count", 52)?,
        version: number(2)?.into(),
        sequence,
    };
    Ok((record, lock))
}

fn named<'a>(field: &str, name: &'a str) -> Result<&'a str, String> {
    check_name(name).map_err(|reason| format!("{field} {reason}"))?;
    Ok(name)
}

fn text(bytes: &[u8], at: usize, length: usize) -> Result<&str, String> {
    let end = at.checked_add(length).ok_or("it is cut short")?;
    let bytes = bytes.get(at..end).ok_or("it is cut short")?;
    std::str::from_utf8(bytes).map_err(|error| error.to_string())
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn read_u48(bytes: &[u8], at: usize) -> Option<u64> {
    Some(bytes.get(at..at + 6)?.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn read_micros(bytes: &[u8], at: usize) -> Option<Micros> {
    Micros::try_from(read_u64(bytes, at)?).ok()
}
