//! What a random run is made of. Everything that a step names is a number that the world resolves when the step is taken,
//! so that any part of a run can be left out and the rest still means something: that is what makes failures small.

use ferroq_core::{Keep, Kind, Micros};
use proptest::prelude::*;
use proptest::sample::select;

/// What an engine is told at the start of a run.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) max_jobs: Option<usize>,
    pub(crate) auto_cleanup: bool,
    pub(crate) keep: [Keep; 3],
    pub(crate) max_crashes: u32,
    pub(crate) lock_timeout: Micros,
    pub(crate) hash_seed: u64,
    pub(crate) watched: bool,
}

/// How the clock moves before a step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tick {
    /// Not at all: equal times must not matter.
    Still,
    By(Micros),
    /// A reading that comes in late.
    Back(Micros),
    /// To the very moment at which the next job comes due or lapses, or to that many microseconds before it.
    NextEvent {
        before: Micros,
    },
}

/// A job to construct, or what an update makes of one.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) id: u16,
    pub(crate) kind: Kind,
    pub(crate) queue: u8,
    pub(crate) priority: i32,
    /// Of a scheduled or retried state, from now.
    pub(crate) due_in: Micros,
    pub(crate) retry_count: u32,
    pub(crate) worker: u8,
    /// Whether the object shows counters that the store has to ignore.
    pub(crate) junk: bool,
}

/// Whose copy of a job an update is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whose {
    /// The object of one of the last claims, live or long lost, with its token.
    Holder(u8),
    /// The same object without its lock.
    Unlocked(u8),
    /// A fresh read of the job of one of the last claims: an operator who cancels.
    Onlooker(u8),
    /// A fresh read of any job.
    Reader(u16),
    /// One of the last reads, whatever has happened since.
    StaleReader(u8),
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Enqueue(Spec),
    Chunk {
        specs: Vec<Spec>,
        skip: bool,
    },
    /// `keep_fields`: queue, priority and all else as the copy shows them.
    Update {
        whose: Whose,
        to: Spec,
        keep_fields: bool,
    },
    /// The last update or release once more, as after a lost reply.
    Again,
    Delete {
        id: u16,
    },
    Release {
        claim: u8,
        delay: Option<Micros>,
    },
    Extend {
        claim: u8,
        timeout: Micros,
    },
    TryLock {
        id: u16,
        worker: u8,
        timeout: Micros,
    },
    Unlock {
        id: u16,
        worker: u8,
    },
    /// By the worker that holds one of the live explicit locks.
    UnlockHeld {
        pick: u8,
    },
    Claim {
        worker: u8,
        queues: Option<Vec<u8>>,
        limit: usize,
        timeout: Option<Micros>,
    },
    Available {
        limit: usize,
    },
    MayClaim {
        queues: Option<Vec<u8>>,
    },
    List {
        kind: Option<Kind>,
        queue: Option<u8>,
        below: Option<u64>,
        skip: usize,
        limit: usize,
    },
    Purge {
        kinds: Vec<Kind>,
        older_than: Micros,
        limit: usize,
    },
    Expire {
        limit: usize,
    },
    Clear,
    /// That many new jobs of one kind, due over `spread` microseconds from `due_in` on.
    Burst {
        jobs: u16,
        spread: u16,
        spec: Spec,
    },
    /// That many ids, from one on: what is left lies between entries that mean nothing any more.
    DeleteMany {
        from: u16,
        ids: u16,
    },
    /// Explicit locks on that many ids, from one on.
    LockMany {
        from: u16,
        ids: u16,
        worker: u8,
        timeout: Micros,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) tick: Tick,
    pub(crate) op: Op,
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) setup: Setup,
    pub(crate) steps: Vec<Step>,
}

fn keep() -> impl Strategy<Value = Keep> {
    prop_oneof![4 => Just(Keep::Forever), 1 => Just(Keep::Never), 2 => (0..12_i64).prop_map(Keep::For)]
}

fn setup(max_jobs: impl Strategy<Value = Option<usize>>, lock_timeout: Micros) -> impl Strategy<Value = Setup> {
    let keep = [keep(), keep(), keep()];
    (max_jobs, any::<bool>(), keep, 1..=3_u32, 2..=lock_timeout, any::<u64>(), any::<bool>()).prop_map(
        |(max_jobs, auto_cleanup, keep, max_crashes, lock_timeout, hash_seed, watched)| Setup {
            max_jobs,
            auto_cleanup,
            keep,
            max_crashes,
            lock_timeout,
            hash_seed,
            watched,
        },
    )
}

fn tick() -> impl Strategy<Value = Tick> {
    prop_oneof![
        10 => Just(Tick::Still),
        5 => (1..=4_i64).prop_map(Tick::By),
        1 => (5..=30_i64).prop_map(Tick::By),
        1 => (1..=9_i64).prop_map(Tick::Back),
        4 => prop_oneof![3 => Just(0_i64), 1 => Just(1)].prop_map(|before| Tick::NextEvent { before }),
    ]
}

fn priority() -> impl Strategy<Value = i32> {
    prop_oneof![6 => Just(0), 2 => -1..=1, 2 => -6..=6, 1 => select(vec![i32::MIN, i32::MAX])]
}

fn spec(kind: impl Strategy<Value = Kind>) -> impl Strategy<Value = Spec> {
    (any::<u16>(), kind, 0..3_u8, priority(), -4..=8_i64, 0..3_u32, 0..3_u8, any::<bool>()).prop_map(
        |(id, kind, queue, priority, due_in, retry_count, worker, junk)| Spec {
            id,
            kind,
            queue,
            priority,
            due_in,
            retry_count,
            worker,
            junk,
        },
    )
}

/// What jobs are enqueued as: mostly to be claimed.
fn new_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        6 => Just(Kind::Enqueued),
        2 => Just(Kind::Scheduled),
        2 => Just(Kind::Processing),
        1 => Just(Kind::AwaitingRetry),
        1 => select(vec![Kind::Succeeded, Kind::Failed, Kind::Deleted]),
    ]
}

/// What updates make of a job. The store does not ask whether the table of transitions holds the change, so any may come.
fn next_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => Just(Kind::Enqueued),
        3 => Just(Kind::Processing),
        2 => Just(Kind::Succeeded),
        3 => Just(Kind::Failed),
        2 => Just(Kind::Deleted),
        2 => Just(Kind::Scheduled),
        3 => Just(Kind::AwaitingRetry),
    ]
}

/// The last claims are the likelier ones.
fn recent() -> impl Strategy<Value = u8> {
    prop_oneof![4 => Just(0), 4 => 0..4_u8, 2 => any::<u8>()]
}

fn whose() -> impl Strategy<Value = Whose> {
    prop_oneof![
        8 => recent().prop_map(Whose::Holder),
        1 => recent().prop_map(Whose::Unlocked),
        2 => recent().prop_map(Whose::Onlooker),
        5 => any::<u16>().prop_map(Whose::Reader),
        2 => recent().prop_map(Whose::StaleReader),
    ]
}

fn queues() -> impl Strategy<Value = Option<Vec<u8>>> {
    // Four queues, of which the last is hardly used; names may stand twice.
    prop_oneof![3 => Just(None), 2 => prop::collection::vec(0..4_u8, 1..4).prop_map(Some)]
}

fn claim(limit: impl Strategy<Value = usize>, timeout: Micros) -> impl Strategy<Value = Op> {
    (0..3_u8, queues(), limit, prop::option::of(1..=timeout)).prop_map(|(worker, queues, limit, timeout)| Op::Claim {
        worker,
        queues,
        limit,
        timeout,
    })
}

fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    let finals = vec![Kind::Succeeded, Kind::Failed, Kind::Deleted];
    prop::collection::vec(select(finals), 1..4)
}

/// What both profiles do: everything but claims and bulk.
fn common(timeout: Micros) -> BoxedStrategy<Op> {
    let list = (prop::option::of(select(Kind::ALL.to_vec())), prop::option::of(0..4_u8), prop::option::of(0..60_u64));
    let limit = || prop_oneof![1 => Just(0_usize), 4 => 1..6_usize, 2 => Just(1_000_usize)];
    prop_oneof![
        14 => spec(new_kind()).prop_map(Op::Enqueue),
        3 => (prop::collection::vec(spec(new_kind()), 0..5), any::<bool>())
            .prop_map(|(specs, skip)| Op::Chunk { specs, skip }),
        18 => (whose(), spec(next_kind()), prop::bool::weighted(0.6))
            .prop_map(|(whose, to, keep_fields)| Op::Update { whose, to, keep_fields }),
        3 => Just(Op::Again),
        2 => any::<u16>().prop_map(|id| Op::Delete { id }),
        5 => (recent(), prop_oneof![3 => Just(None), 1 => (0..=5_i64).prop_map(Some)])
            .prop_map(|(claim, delay)| Op::Release { claim, delay }),
        3 => (recent(), 1..=timeout).prop_map(|(claim, timeout)| Op::Extend { claim, timeout }),
        8 => (any::<u16>(), 0..3_u8, 1..=3 * timeout)
            .prop_map(|(id, worker, timeout)| Op::TryLock { id, worker, timeout }),
        4 => (any::<u16>(), 0..3_u8).prop_map(|(id, worker)| Op::Unlock { id, worker }),
        5 => any::<u8>().prop_map(|pick| Op::UnlockHeld { pick }),
        3 => limit().prop_map(|limit| Op::Available { limit }),
        2 => queues().prop_map(|queues| Op::MayClaim { queues }),
        2 => (list, 0..5_usize, limit())
            .prop_map(|((kind, queue, below), skip, limit)| Op::List { kind, queue, below, skip, limit }),
        1 => (kinds(), 0..12_i64, limit())
            .prop_map(|(kinds, older_than, limit)| Op::Purge { kinds, older_than, limit }),
        1 => limit().prop_map(|limit| Op::Expire { limit }),
    ]
    .boxed()
}

/// Few ids, few queues, much going on with each.
pub(crate) fn small() -> impl Strategy<Value = Case> {
    let max_jobs = prop_oneof![2 => Just(None), 1 => (1..6_usize).prop_map(Some)];
    let limit = prop_oneof![1 => Just(0_usize), 6 => Just(1_usize), 3 => 2..5_usize];
    let op = prop_oneof![
        200 => common(8),
        60 => claim(limit, 8),
        1 => Just(Op::Clear),
    ];
    let step = (tick(), op).prop_map(|(tick, op)| Step { tick, op });
    (setup(max_jobs, 12), prop::collection::vec(step, 1..400)).prop_map(|(setup, steps)| Case { setup, steps })
}

/// Hundreds of jobs that come due, lapse or are let go at once.
pub(crate) fn waves() -> impl Strategy<Value = Case> {
    let limit = prop_oneof![4 => Just(1_usize), 2 => select(vec![99, 100, 101]), 3 => 1..400_usize];
    let many = || prop_oneof![1 => 1..90_u16, 3 => 90..300_u16];
    let kind = prop_oneof![
        2 => Just(Kind::Enqueued),
        2 => Just(Kind::Scheduled),
        1 => Just(Kind::AwaitingRetry),
        2 => Just(Kind::Processing)
    ];
    let burst = (many(), prop_oneof![Just(1_u16), 1..20_u16], spec(kind));
    let op = prop_oneof![
        4 => common(8),
        6 => claim(limit, 4),
        3 => burst.prop_map(|(jobs, spread, spec)| Op::Burst { jobs, spread, spec }),
        2 => (any::<u16>(), many(), 0..3_u8, 1..=6_i64)
            .prop_map(|(from, ids, worker, timeout)| Op::LockMany { from, ids, worker, timeout }),
        1 => (any::<u16>(), many()).prop_map(|(from, ids)| Op::DeleteMany { from, ids }),
        3 => (0..150_usize).prop_map(|limit| Op::Available { limit }),
        // The last queue is empty as a rule: what may be claimed there hangs on the wave alone.
        3 => prop_oneof![queues(), Just(Some(vec![3]))].prop_map(|queues| Op::MayClaim { queues }),
    ];
    let step = (tick(), op).prop_map(|(tick, op)| Step { tick, op });
    (setup(Just(None), 8), prop::collection::vec(step, 1..60)).prop_map(|(setup, steps)| Case { setup, steps })
}
