//! How long the engine's operations take, without Python: `cargo bench -p ferroq-core --bench engine`.
//!
//! Lives are timed in processor time, which a busy machine hardly changes; single operations in wall time.

#![allow(missing_docs, clippy::expect_used, reason = "a bench that meets an error has to stop")]

mod common;

use std::hint::black_box;
use std::time::Duration;

use common::{Backlog, Clock, HOUR, QUEUE, WORKER, enqueued, filled, ids, life, lives, name, succeed};
use cpu_time::ProcessTime;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ferroq_core::{Claimed, Engine, Kind, Name};

/// Jobs in store unless a bench says otherwise.
const STORED: u64 = 100_000;

/// Lives after which the store is laid anew, off the clock: each leaves a finished job behind.
const LIVES: usize = 20_000;

/// Lives led off the clock in a fresh store, so that its memory is as warm as that of a store at work.
const WARM: usize = 2_000;

/// A store that leads lives one after another and never grows far beyond what it began with.
struct Course {
    backlog: Backlog,
    stored: u64,
    laid: Option<(Engine, Clock)>,
    fresh: std::vec::IntoIter<String>,
    queue: Name,
    worker: Name,
}

impl Course {
    fn new(backlog: Backlog, stored: u64) -> Self {
        Self { backlog, stored, laid: None, fresh: Vec::new().into_iter(), queue: name(QUEUE), worker: name(WORKER) }
    }

    /// The processor time of `count` steps of `size` lives each.
    fn timed(&mut self, count: u64, size: usize) -> Duration {
        let mut taken = Duration::ZERO;
        let mut left = usize::try_from(count).expect("criterion counts in reason");
        while left > 0 {
            if self.fresh.len() < size {
                self.lay();
            }
            let part = left.min(self.fresh.len() / size);
            let batches: Vec<Vec<String>> = (0..part).map(|_| self.fresh.by_ref().take(size).collect()).collect();
            let start = ProcessTime::now();
            for batch in &batches {
                self.lead(batch);
            }
            taken += start.elapsed();
            left -= part;
        }
        taken
    }

    fn lead(&mut self, batch: &[String]) {
        let Some((engine, clock)) = &mut self.laid else { return };
        if let [id] = batch {
            life(engine, clock, id, &self.queue, &self.worker);
        } else {
            lives(engine, clock, batch, &self.queue, &self.worker);
        }
    }

    fn lay(&mut self) {
        self.laid = None; // first, so that two stores never stand side by side
        let (mut engine, mut clock) = filled(self.backlog, self.stored);
        // Claims take over the whole wave of lapsed jobs first, as they would over time: what is measured is a claim among
        // them, not the wave.
        while engine.next_event().is_some_and(|at| at <= clock.tick()) {
            engine.may_claim(clock.tick(), None);
        }
        self.laid = Some((engine, clock));
        let mut fresh = ids(0, (WARM + LIVES) as u64).into_iter();
        for id in fresh.by_ref().take(WARM) {
            self.lead(&[id]);
        }
        self.fresh = fresh;
    }
}

fn life_by_size(c: &mut Criterion) {
    let mut group = c.benchmark_group("life");
    for stored in [1_000, STORED, 1_000_000] {
        // Outside the closure, which criterion calls anew for every step of its warming up.
        let mut course = Course::new(Backlog::Finished, stored);
        group.bench_function(BenchmarkId::new("one at a time", stored), |b| {
            b.iter_custom(|count| course.timed(count, 1));
        });
    }
    group.throughput(Throughput::Elements(100));
    let mut course = Course::new(Backlog::Finished, STORED);
    group.bench_function(BenchmarkId::new("batch of 100", STORED), |b| {
        b.iter_custom(|count| course.timed(count, 100));
    });
    group.finish();
}

fn life_by_backlog(c: &mut Criterion) {
    let mut group = c.benchmark_group("life beside");
    for backlog in Backlog::ALL {
        let mut course = Course::new(backlog, STORED);
        group.bench_function(BenchmarkId::new(format!("{backlog:?}"), STORED), |b| {
            b.iter_custom(|count| course.timed(count, 1));
        });
    }
    group.finish();
}

/// A store with jobs ready, and what a single operation needs.
struct Stage {
    engine: Engine,
    clock: Clock,
    worker: Name,
    ready: Vec<String>,
    claimed: Vec<Claimed>,
}

/// Operations in one sample; a stage is laid for each sample, off the clock.
const OPS: usize = 1_000;

fn stage() -> Stage {
    let (mut engine, mut clock) = filled(Backlog::Finished, STORED);
    let (queue, worker) = (name(QUEUE), name(WORKER));
    let ready = ids(0, 2 * OPS as u64);
    let now = clock.tick();
    let jobs = ready.iter().map(|id| enqueued(id, &queue, now)).collect();
    engine.enqueue_chunk(now, jobs, false).expect("the ids are new");
    let claimed = engine.claim(clock.tick(), &worker, None, OPS, None);
    Stage { engine, clock, worker, ready: ready[OPS..].to_vec(), claimed }
}

fn operations(c: &mut Criterion) {
    let mut group = c.benchmark_group("1000 times");
    group.sample_size(20).throughput(Throughput::Elements(OPS as u64));
    let mut bench = |label: &str, run: &dyn Fn(&mut Stage)| {
        group.bench_function(label, |b| b.iter_batched_ref(stage, |stage| run(stage), BatchSize::PerIteration));
    };
    bench("enqueue", &|stage| {
        let queue = name(QUEUE);
        for id in ids(1 << 30, OPS as u64) {
            let now = stage.clock.tick();
            stage.engine.enqueue(now, enqueued(&id, &queue, now)).expect("the id is new");
        }
    });
    bench("claim", &|stage| {
        for _ in 0..OPS {
            black_box(stage.engine.claim(stage.clock.tick(), &stage.worker, None, 1, None));
        }
    });
    bench("claim, a thousand at once", &|stage| {
        black_box(stage.engine.claim(stage.clock.tick(), &stage.worker, None, OPS, None));
    });
    bench("settle", &|stage| {
        for claimed in &mut stage.claimed {
            let now = stage.clock.tick();
            succeed(claimed, now);
            stage.engine.update(now, &claimed.job, Some(claimed.lock.token)).expect("the claim is held");
        }
    });
    bench("get", &|stage| {
        for id in &stage.ready {
            black_box(stage.engine.get(id));
        }
    });
    bench("renew", &|stage| {
        for claimed in &stage.claimed {
            let now = stage.clock.tick();
            black_box(stage.engine.extend(now, claimed.job.body.id(), claimed.lock.token, HOUR));
        }
    });
    bench("release", &|stage| {
        for claimed in &stage.claimed {
            let now = stage.clock.tick();
            black_box(stage.engine.release(now, claimed.job.body.id(), claimed.lock.token, None));
        }
    });
    bench("delete", &|stage| {
        for id in &stage.ready {
            black_box(stage.engine.delete(stage.clock.tick(), id));
        }
    });
    bench("explicit lock and unlock", &|stage| {
        for id in &stage.ready {
            black_box(stage.engine.try_lock(stage.clock.tick(), &name(id), &stage.worker, HOUR));
            black_box(stage.engine.unlock(stage.clock.tick(), id, WORKER));
        }
    });
    bench("counts", &|stage| {
        for _ in 0..OPS {
            black_box(stage.engine.counts());
        }
    });
    bench("list, pages of 100 of one kind", &|stage| {
        for _ in 0..OPS / 100 {
            black_box(stage.engine.list(Some(Kind::Enqueued), None, u64::MAX, &mut 0, 100));
        }
    });
    bench("available, pages of 100", &|stage| {
        for _ in 0..OPS / 100 {
            black_box(stage.engine.available(stage.clock.tick(), None, 100));
        }
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = life_by_size, life_by_backlog, operations
}
criterion_main!(benches);
