//! Batches of the memory store: everything is extracted first, then the engine runs without the GIL, then it is written back.

use ferroq_core::{Job as Record, Micros, Token};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::arguments::{self, LOCK_SECONDS};
use crate::errors::{Blame, Scope, convert, memory};
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
            let (record, _) = self.checked(py, job.get(), scope)?;
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
        let mut verdicts: Vec<Option<PyErr>> = Vec::with_capacity(jobs.len());
        for chunk in jobs.chunks(PAGE) {
            // What a job cannot carry is that job's verdict; the others go on.
            let first = verdicts.len();
            let mut writes = Vec::with_capacity(chunk.len());
            for job in chunk {
                match self.checked(py, job.get(), scope) {
                    Ok(write) => {
                        writes.push(write);
                        verdicts.push(None);
                    }
                    Err(error) if is_storage_error(py, &error)? => verdicts.push(Some(error)),
                    Err(error) => return Err(error),
                }
            }
            let results = self.shared.run_bulk(py, writes.len(), |engine, now| {
                let results = writes.iter().map(|(record, held)| engine.update(now, record, *held));
                results.collect::<Vec<_>>()
            });
            let written = chunk.iter().zip(&mut verdicts[first..]).filter(|(_, verdict)| verdict.is_none());
            for ((job, verdict), result) in written.zip(results) {
                match result {
                    Ok(accepted) => job.get().accept(py, accepted),
                    Err(error) => *verdict = Some(convert(py, &error, scope)),
                }
            }
        }
        self.shared.expire(py);
        PyList::new(py, verdicts.into_iter().map(|verdict| verdict.map(|error| error.into_value(py))))
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
    /// A copy of what a job carries, and the token of the claim that it holds, for a write off the GIL.
    fn checked(&self, py: Python<'_>, job: &Job, scope: Scope<'_>) -> PyResult<(Record, Option<Token>)> {
        let error = {
            let inner = job.current(py, scope)?;
            match inner.record.check_size(self.shared.max_payload_bytes) {
                Ok(()) => return Ok((inner.record.clone(), inner.token())),
                Err(error) => error,
            }
        };
        Err(convert(py, &error, scope))
    }

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
