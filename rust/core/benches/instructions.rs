//! One section for each operation of the engine, told apart by a marker, for `python -m benches.instructions`.
//!
//! Callgrind writes its counters down and sets them to zero before every call of `section_marker`; the names of the
//! sections go to standard output, in order. Without callgrind this is a quick check that every section runs.

#![allow(missing_docs, clippy::expect_used, reason = "a bench that meets an error has to stop")]

mod common;

use std::hint::black_box;

use common::{Backlog, Clock, HOUR, QUEUE, WORKER, enqueued, filled, ids, life, lives, name, succeed};
use ferroq_core::{Body, Claimed, Engine, Kind, Name};

/// Jobs in store before a section.
const STORED: u64 = 10_000;

/// How often a section does its operation; the report divides by it.
const TIMES: usize = 1_000;

const BATCH: usize = 100;

/// Where callgrind writes its counters down. It must stay a function of its own, and be called by this name.
#[inline(never)]
fn section_marker(number: usize) {
    black_box(number);
}

/// What a section finds: a store with finished jobs, claims, and jobs ready for more.
struct Stage {
    engine: Engine,
    clock: Clock,
    queue: Name,
    worker: Name,
    fresh: Vec<String>,
    ready: Vec<String>,
    claimed: Vec<Claimed>,
}

fn stage() -> Stage {
    let (mut engine, mut clock) = filled(Backlog::Finished, STORED);
    let (queue, worker) = (name(QUEUE), name(WORKER));
    let ready = ids(0, 2 * TIMES as u64);
    let now = clock.tick();
    let jobs = ready.iter().map(|id| enqueued(id, &queue, now)).collect();
    engine.enqueue_chunk(now, jobs, false).expect("the ids are new");
    let claimed = engine.claim(clock.tick(), &worker, None, TIMES, None);
    let fresh = ids(1 << 30, TIMES as u64);
    Stage { engine, clock, queue, worker, fresh, ready: ready[TIMES..].to_vec(), claimed }
}

type Section = (&'static str, fn(&mut Stage));

const SECTIONS: &[Section] = &[
    ("body", |stage| {
        for id in &stage.fresh {
            black_box(Body::new(id, "send_email", r#"["user@example.org",42]"#, 1)).expect("the names are short");
        }
    }),
    ("enqueue", |stage| {
        for id in &stage.fresh {
            let now = stage.clock.tick();
            black_box(stage.engine.enqueue(now, enqueued(id, &stage.queue, now))).expect("the id is new");
        }
    }),
    ("enqueue_chunk of 100", |stage| {
        for ids in stage.fresh.chunks(BATCH) {
            let now = stage.clock.tick();
            let jobs = ids.iter().map(|id| enqueued(id, &stage.queue, now)).collect();
            black_box(stage.engine.enqueue_chunk(now, jobs, false)).expect("the ids are new");
        }
    }),
    ("claim", |stage| {
        for _ in 0..TIMES {
            black_box(stage.engine.claim(stage.clock.tick(), &stage.worker, None, 1, None));
        }
    }),
    ("claim of 100", |stage| {
        for _ in 0..TIMES / BATCH {
            black_box(stage.engine.claim(stage.clock.tick(), &stage.worker, None, BATCH, None));
        }
    }),
    ("settle", |stage| {
        for claimed in &mut stage.claimed {
            let now = stage.clock.tick();
            succeed(claimed, now);
            black_box(stage.engine.update(now, &claimed.job, Some(claimed.lock.token))).expect("the claim is held");
        }
    }),
    ("get", |stage| {
        for id in &stage.ready {
            black_box(stage.engine.get(id));
        }
    }),
    ("renew", |stage| {
        for claimed in &stage.claimed {
            let now = stage.clock.tick();
            black_box(stage.engine.extend(now, claimed.job.body.id(), claimed.lock.token, HOUR));
        }
    }),
    ("release", |stage| {
        for claimed in &stage.claimed {
            let now = stage.clock.tick();
            black_box(stage.engine.release(now, claimed.job.body.id(), claimed.lock.token, None));
        }
    }),
    ("delete", |stage| {
        for id in &stage.ready {
            black_box(stage.engine.delete(stage.clock.tick(), id));
        }
    }),
    ("explicit lock and unlock", |stage| {
        for id in &stage.ready {
            black_box(stage.engine.try_lock(stage.clock.tick(), &name(id), &stage.worker, HOUR));
            black_box(stage.engine.unlock(stage.clock.tick(), id, WORKER));
        }
    }),
    ("counts", |stage| {
        for _ in 0..TIMES {
            black_box(stage.engine.counts());
        }
    }),
    ("list, a job of a page of 100", |stage| {
        for _ in 0..TIMES / BATCH {
            black_box(stage.engine.list(Some(Kind::Enqueued), None, u64::MAX, &mut 0, BATCH));
        }
    }),
    ("available, a job of a page of 100", |stage| {
        for _ in 0..TIMES / BATCH {
            black_box(stage.engine.available(stage.clock.tick(), None, BATCH));
        }
    }),
    ("life", |stage| {
        for id in &stage.fresh {
            life(&mut stage.engine, &mut stage.clock, id, &stage.queue, &stage.worker);
        }
    }),
    ("life in batches of 100", |stage| {
        for ids in stage.fresh.chunks(BATCH) {
            lives(&mut stage.engine, &mut stage.clock, ids, &stage.queue, &stage.worker);
        }
    }),
];

fn main() {
    println!("times {TIMES}");
    for (number, (title, run)) in SECTIONS.iter().enumerate() {
        let mut stage = stage();
        section_marker(2 * number);
        run(&mut stage);
        section_marker(2 * number + 1);
        println!("section {title}");
    }
}
