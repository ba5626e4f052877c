//! Batches of the memory store: everything is extracted first, then the engine runs without the GIL, then it is written back.

use ferroq_core::{Job as Record, Micros, Token};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::arguments::{self, LOCK_SECONDS};
use crate::errors::{Blame, convert, memory};
use crate::job::Job;
use crate::store::{PAGE, Store};
use crate::text;

/// Text of one chunk, its first job apart \[Q12, Q13\].
const CHUNK_BYTES: usize = 16 * 1024 * 1024;

/// How many of the jobs, from the first on, go into the next chunk.
fn chunk_len(records: &[Record]) -> usize {
    let mut bytes = 0;
    let fits = records.iter().take(PAGE).take_while(|record| {
        bytes += record.text_len();
        bytes <= CHUNK_BYTES
    });
    fits.count().max(1)
}

#[pymethods]
impl Store {
    fn enqueue_many<'py>(
        &self,
        py: Python<'py>,
        jobs: &Bound<'py, PyAny>,
        if_exists: &Bound<'py, PyAny>,
    ) -> PyResult<Vec<bool>> {
        let scope = memory("enqueue_many");
        self.enter(py, scope)?;
        let skip = arguments::skip(Some(if_exists), Blame::argument(scope))?;
        let jobs = arguments::jobs(jobs)?;
        let mut records = Vec::with_capacity(jobs.len());
        for job in &jobs {
            let (record, _) = job.get().snapshot(py, scope)?;
            record.check_size(self.shared.max_payload_bytes).map_err(|error| convert(py, &error, scope))?;
            records.push(record);
        }
        let mut stored = Vec::with_capacity(jobs.len());
        let mut finished = false;
        while !records.is_empty() {
            let rest = records.split_off(chunk_len(&records));
            let chunk = std::mem::replace(&mut records, rest);
            finished |= chunk.iter().any(|record| record.state.kind().is_final());
            let size = chunk.len();
            let outcome = self.shared.run_bulk(py, size, |engine, now| engine.enqueue_chunk(now, chunk, skip));
            match outcome {
                Ok(accepted) => {
                    for accepted in accepted {
                        let at = stored.len();
                        stored.push(accepted.is_some());
                        if let Some(accepted) = accepted {
                            jobs[at].get().accept(py, accepted);
                        }
                    }
                }
                Err(error) => {
                    let error = convert(py, &error, scope);
                    let before = stored.iter().filter(|&&stored| stored).count();
                    error.value(py).setattr("stored", before)?;
                    return Err(error);
                }
            }
        }
        if finished {
            self.shared.expire(py);
        }
        Ok(stored)
    }

    fn update_many<'py>(&self, py: Python<'py>, jobs: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let scope = memory("update_many");
        self.enter(py, scope)?;
        let jobs = arguments::jobs(jobs)?;
        let verdicts = PyList::empty(py);
        let mut at = 0;
        while at < jobs.len() {
            let chunk = &jobs[at..jobs.len().min(at + PAGE)];
            at += chunk.len();
            // What a job cannot carry is that job's verdict; the others go on.
            let mut writes: Vec<Result<(Record, Option<Token>), PyErr>> = Vec::with_capacity(chunk.len());
            for job in chunk {
                let write = job.get().snapshot(py, scope).and_then(|(record, lock)| {
                    record.check_size(self.shared.max_payload_bytes).map_err(|error| convert(py, &error, scope))?;
                    Ok((record, lock.map(|lock| lock.token)))
                });
                match write {
                    Err(error) if !is_storage_error(py, &error)? => return Err(error),
                    write => writes.push(write),
                }
            }
            let good: Vec<_> = writes.iter().filter_map(|write| write.as_ref().ok()).collect();
            let mut results = self
                .shared
                .run_bulk(py, good.len(), |engine, now| {
                    good.iter().map(|(record, held)| engine.update(now, record, *held)).collect::<Vec<_>>()
                })
                .into_iter();
            for (job, write) in chunk.iter().zip(writes) {
                let verdict = match write {
                    Err(error) => Some(error),
                    Ok(_) => match results.next() {
                        Some(Ok(accepted)) => {
                            job.get().accept(py, accepted);
                            None
                        }
                        Some(Err(error)) => Some(convert(py, &error, scope)),
                        None => None,
                    },
                };
                verdicts.append(verdict.map(|error| error.into_value(py)))?;
            }
        }
        self.shared.expire(py);
        Ok(verdicts)
    }

    #[pyo3(signature = (jobs, lock_timeout))]
    fn extend_job_locks(
        &self,
        py: Python<'_>,
        jobs: &Bound<'_, PyAny>,
        lock_timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<bool>> {
        let scope = memory("extend_job_locks");
        self.enter(py, scope)?;
        let timeout = arguments::lock_timeout("lock_timeout", lock_timeout, Blame::argument(scope))?;
        let jobs = arguments::jobs(jobs)?;
        let renewed = self.each_claim(py, &jobs, |engine, now, id, token| {
            let timeout = timeout.unwrap_or(engine.options().lock_timeout);
            engine.extend(now, id, token, timeout)
        });
        Ok(jobs
            .iter()
            .zip(renewed)
            .map(|(job, renewed)| {
                let Some((token, Some(expires_at))) = renewed else { return false };
                job.get().renewed(py, token, expires_at);
                true
            })
            .collect())
    }

    #[pyo3(signature = (jobs, delay))]
    fn release_jobs(
        &self,
        py: Python<'_>,
        jobs: &Bound<'_, PyAny>,
        delay: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<bool>> {
        let scope = memory("release_jobs");
        self.enter(py, scope)?;
        let delay = delay
            .filter(|value| !value.is_none())
            .map(|value| text::seconds_or_delta("delay", value, 0.0, LOCK_SECONDS.1, Blame::argument(scope)))
            .transpose()?;
        let jobs = arguments::jobs(jobs)?;
        let released = self.each_claim(py, &jobs, |engine, now, id, token| engine.release(now, id, token, delay));
        Ok(jobs
            .iter()
            .zip(released)
            .map(|(job, released)| {
                let Some((_, Some(released))) = released else { return false };
                job.get().released(py, released);
                true
            })
            .collect())
    }
}

impl Store {
    /// Runs an operation for each job that holds a claim, in pages; None for those that hold none.
    fn each_claim<R: Send>(
        &self,
        py: Python<'_>,
        jobs: &[Bound<'_, Job>],
        operation: impl Fn(&mut ferroq_core::Engine, Micros, &str, Token) -> R + Sync,
    ) -> Vec<Option<(Token, R)>> {
        let mut results = Vec::with_capacity(jobs.len());
        for page in jobs.chunks(PAGE) {
            let claims: Vec<_> =
                page.iter().map(|job| job.get().claim(py).map(|token| (job.get().key(py).0, token))).collect();
            results.extend(self.shared.run_bulk(py, claims.len(), |engine, now| {
                claims
                    .iter()
                    .map(|claim| claim.as_ref().map(|(id, token)| (*token, operation(engine, now, id, *token))))
                    .collect::<Vec<_>>()
            }));
        }
        results
    }
}

/// Whether an error is a verdict on a job, and not an interrupt or a bug.
fn is_storage_error(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    Ok(error.is_instance(py, &py.import("ferroq.errors")?.getattr("StorageError")?))
}
