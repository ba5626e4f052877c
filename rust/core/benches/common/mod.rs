//! What both benches of the engine are made of: jobs, a store of them, and one life.

#![allow(dead_code, clippy::expect_used, reason = "each bench uses its part; a bench that meets an error has to stop")]

use std::sync::Arc;

use ferroq_core::{Body, Claimed, Engine, Job, Keep, Micros, Name, Options, State};

pub(crate) const QUEUE: &str = "default";
pub(crate) const WORKER: &str = "worker-1";
pub(crate) const START: Micros = 1_750_000_000_000_000;
pub(crate) const HOUR: Micros = 3_600_000_000;
const ARGUMENTS: &str = r#"["user@example.org",42]"#;

/// A clock of our own: engines read none. Each step is a microsecond, about what a life takes.
#[derive(Debug)]
pub(crate) struct Clock(Micros);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(START)
    }

    pub(crate) fn tick(&mut self) -> Micros {
        self.0 += 1;
        self.0
    }

    pub(crate) fn skip(&mut self, by: Micros) {
        self.0 += by;
    }
}

pub(crate) fn name(text: &str) -> Name {
    Arc::from(text)
}

pub(crate) fn options() -> Options {
    Options {
        lock_timeout: HOUR,
        max_crashes: 1000,
        server_name: name("server"),
        max_jobs: None,
        auto_cleanup: false,
        keep: [Keep::Forever; 3],
        hash_seed: 1,
    }
}

/// Ids as the binding makes them: 36 bytes that differ at the end.
pub(crate) fn ids(from: u64, count: u64) -> Vec<String> {
    (from..from + count).map(|number| format!("0197a3c2-5d1e-7abc-8def-{number:012x}")).collect()
}

/// A fresh job, as a constructor makes one.
pub(crate) fn job(id: &str, queue: &Name, state: State, now: Micros) -> Job {
    Job {
        body: Body::new(id, "send_email", ARGUMENTS, now).expect("the names are short"),
        queue: queue.clone(),
        state,
        extras: None,
        priority: 0,
        max_retries: 0,
        attempt: 0,
        crash_count: 0,
        retry_count: 0,
        version: 0,
        sequence: 0,
    }
}

pub(crate) fn enqueued(id: &str, queue: &Name, now: Micros) -> Job {
    job(id, queue, State::Enqueued { enqueued_at: now }, now)
}

pub(crate) fn succeed(claimed: &mut Claimed, now: Micros) {
    claimed.job.state = State::Succeeded { succeeded_at: now, total_duration: 5, result: None };
}

/// The jobs that stand in a store before a bench begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Backlog {
    /// Succeeded.
    Finished,
    /// Enqueued, behind those of the bench.
    Ready,
    /// Scheduled for much later.
    Future,
    /// Enqueued in another queue.
    Elsewhere,
    /// Claimed, and lapsed before the bench begins.
    Lapsed,
}

impl Backlog {
    pub(crate) const ALL: [Self; 5] = [Self::Finished, Self::Ready, Self::Future, Self::Elsewhere, Self::Lapsed];
}

/// A store with `count` jobs of a kind, and the clock that it goes by.
pub(crate) fn filled(backlog: Backlog, count: u64) -> (Engine, Clock) {
    let (mut engine, mut clock) = (Engine::new(options()), Clock::new());
    let (queue, other, worker) = (name(QUEUE), name("other"), name(WORKER));
    for chunk in ids(1 << 40, count).chunks(1000) {
        let now = clock.tick();
        let state = |now| match backlog {
            Backlog::Finished => State::Succeeded { succeeded_at: now, total_duration: 5, result: None },
            Backlog::Future => {
                State::Scheduled { scheduled_at: now, enqueue_at: now + 1000 * HOUR, reason: Arc::from("later") }
            }
            Backlog::Ready | Backlog::Elsewhere | Backlog::Lapsed => State::Enqueued { enqueued_at: now },
        };
        let queue = if matches!(backlog, Backlog::Elsewhere) { &other } else { &queue };
        let mut jobs: Vec<_> = chunk.iter().map(|id| job(id, queue, state(now), now)).collect();
        if matches!(backlog, Backlog::Ready) {
            for job in &mut jobs {
                job.priority = -1;
            }
        }
        engine.enqueue_chunk(now, jobs, false).expect("the ids are new");
        if matches!(backlog, Backlog::Lapsed) {
            engine.claim(clock.tick(), &worker, None, 1000, Some(1));
        }
    }
    clock.skip(HOUR);
    (engine, clock)
}

/// Construct, enqueue, claim, set succeeded, update: with the copy that a caller keeps of what it enqueues.
pub(crate) fn life(engine: &mut Engine, clock: &mut Clock, id: &str, queue: &Name, worker: &Name) {
    let kept = enqueued(id, queue, clock.tick());
    engine.enqueue(clock.tick(), kept.clone()).expect("the id is new");
    let mut claimed = engine.claim(clock.tick(), worker, None, 1, None);
    for claimed in &mut claimed {
        succeed(claimed, clock.tick());
        engine.update(clock.tick(), &claimed.job, Some(claimed.lock.token)).expect("the claim is held");
    }
}

/// The same for as many jobs as there are ids, in one chunk and one claim.
pub(crate) fn lives(engine: &mut Engine, clock: &mut Clock, ids: &[String], queue: &Name, worker: &Name) {
    let now = clock.tick();
    let kept: Vec<_> = ids.iter().map(|id| enqueued(id, queue, now)).collect();
    engine.enqueue_chunk(clock.tick(), kept.clone(), false).expect("the ids are new");
    let mut claimed = engine.claim(clock.tick(), worker, None, ids.len(), None);
    let now = clock.tick();
    for claimed in &mut claimed {
        succeed(claimed, now);
        engine.update(now, &claimed.job, Some(claimed.lock.token)).expect("the claim is held");
    }
}
