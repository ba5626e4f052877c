//! What only shows with many jobs or much text: each call does a bounded part of the work, and the parts add up.
//!
//! The bounds are counted, not timed: what a claim took over can be told from what it returns. Times are for the benches.

#![allow(clippy::expect_used, reason = "clippy.toml allows it in tests, and these helpers are tests too")]

use std::collections::HashSet;

use ferroq_core::{Body, CLAIM_BYTES, Engine, Extras, Job, Keep, Kind, Micros, Name, Options, State, TAKEOVER, Text};

const MANY: u32 = 100_000;
const NONE: [u32; 0] = [];
const HOUR: Micros = 3_600_000_000;
/// The most jobs that a caller may ask a claim for \[Q21\].
const BATCH: usize = 1_000;

fn engine(max_crashes: u32) -> Engine {
    Engine::new(Options {
        lock_timeout: HOUR,
        max_crashes,
        server_name: "here".into(),
        max_jobs: None,
        auto_cleanup: false,
        keep: [Keep::Forever; 3],
        hash_seed: 1,
    })
}

/// Job number so and so; the later ones have the higher priorities.
fn job(number: u32, state: State, arguments: &str) -> Job {
    let body = Body::new(&format!("job-{number}"), "method", arguments, 0).expect("short names");
    Job {
        body,
        queue: format!("queue-{}", number % 3).into(),
        state,
        extras: None,
        priority: i32::try_from(number).expect("a small number"),
        max_retries: 0,
        attempt: 0,
        crash_count: 0,
        retry_count: 0,
        version: 0,
        sequence: 0,
    }
}

fn fill(engine: &mut Engine, state: &State) {
    for number in 0..MANY {
        engine.enqueue(0, job(number, state.clone(), "[]")).expect("a new id");
    }
}

fn claim(engine: &mut Engine, now: Micros, limit: usize) -> Vec<u32> {
    let claimed = engine.claim(now, &Name::from("worker"), None, limit, None);
    claimed.iter().map(|claimed| u32::try_from(claimed.job.priority).expect("as given")).collect()
}

/// Of a wave whose later jobs have the higher priorities, each claim returns the last that it took over: so one can see how
/// far it went. In the end all have been claimed, each once \[Q26\].
fn assert_bounded(engine: &mut Engine, now: Micros) {
    let part = u32::try_from(TAKEOVER).expect("a small number");
    let mut seen = HashSet::new();
    for claims in 1..=20 {
        let last = claims * part - 1;
        assert_eq!(claim(engine, now, 1), [last], "claim {claims}");
        seen.insert(last);
    }
    // A batch takes over as many as it may return, and returns the best of those and the ones left behind.
    let first: Vec<u32> = (0..20 * part + 1_000).rev().filter(|number| !seen.contains(number)).take(BATCH).collect();
    assert_eq!(claim(engine, now, BATCH), first);
    seen.extend(first);
    assert!(engine.may_claim(now, None), "the wave is not over");
    loop {
        let claimed = claim(engine, now, BATCH);
        if claimed.is_empty() {
            break;
        }
        assert!(claimed.len() <= BATCH);
        for number in claimed {
            assert!(seen.insert(number), "job {number} was claimed twice");
        }
    }
    assert_eq!(seen.len(), MANY as usize);
    assert!(!engine.may_claim(now, None));
    assert_eq!(engine.verify(), Vec::<String>::new());
}

#[test]
fn jobs_that_come_due_at_once_are_taken_over_in_parts() {
    let mut engine = engine(3);
    fill(&mut engine, &State::Scheduled { scheduled_at: 0, enqueue_at: 10, reason: Text::from("") });
    assert_eq!(claim(&mut engine, 9, 1), NONE);
    assert_bounded(&mut engine, 10);
}

#[test]
fn jobs_that_lapse_at_once_are_taken_over_in_parts() {
    let mut engine = engine(3);
    fill(&mut engine, &processing());
    assert_eq!(claim(&mut engine, HOUR - 1, 1), NONE);
    assert_bounded(&mut engine, HOUR);
}

#[test]
fn jobs_that_explicit_locks_let_go_at_once_are_taken_over_in_parts() {
    let mut engine = engine(3);
    for number in 0..MANY {
        assert!(engine.try_lock(0, &format!("job-{number}").into(), &Name::from("worker"), 10));
    }
    fill(&mut engine, &State::Enqueued { enqueued_at: 0 });
    assert_eq!(claim(&mut engine, 9, 1), NONE);
    assert_bounded(&mut engine, 10);
}

/// A claim fails no more jobs than it may take over \[L4\].
#[test]
fn jobs_that_crash_at_once_fail_in_parts() {
    let mut engine = engine(1);
    fill(&mut engine, &processing());
    let mut failed = 0;
    for limit in [1, 1, 99, 100, 101, BATCH, 1] {
        assert_eq!(claim(&mut engine, HOUR, limit), NONE);
        failed += TAKEOVER.max(limit) as u64;
        assert_eq!(engine.count(Kind::Failed), failed, "after a claim of {limit}");
    }
    // Looking fails nothing, and what it has taken over in advance makes no claim's part larger.
    for _ in 0..5 {
        assert!(engine.available(HOUR, None, 10).jobs.is_empty());
    }
    assert_eq!(engine.count(Kind::Failed), failed);
    while failed < u64::from(MANY) {
        assert_eq!(claim(&mut engine, HOUR, BATCH), NONE);
        failed = (failed + BATCH as u64).min(u64::from(MANY));
        assert_eq!(engine.count(Kind::Failed), failed);
    }
    assert!(!engine.may_claim(HOUR, None));
    assert_eq!(engine.verify(), Vec::<String>::new());
}

/// A wave is of jobs: locks on names that no job has keep no job waiting.
#[test]
fn ended_locks_without_jobs_stand_in_nobody_s_way() {
    let mut engine = engine(3);
    for number in 0..MANY {
        assert!(engine.try_lock(0, &format!("name-{number}").into(), &Name::from("worker"), 10));
    }
    assert_eq!(engine.next_event(), None);
    let due = State::Scheduled { scheduled_at: 0, enqueue_at: 20, reason: Text::from("") };
    engine.enqueue(0, job(7, due, "[]")).expect("a new id");
    assert_eq!(engine.next_event(), Some(20));
    assert_eq!(claim(&mut engine, 20, 1), [7]);
}

/// A claim returns fewer where their text would pass 16 MiB, but never none for that \[Q11\].
#[test]
fn a_claim_returns_so_much_text_and_no_more() {
    let mut engine = engine(3);
    let mut sizes = Vec::new();
    // From the highest priority down: one alone over the bound, then two thirds of it in metadata, then small ones.
    let huge = format!("[{:?}]", "x".repeat(CLAIM_BYTES));
    let third: Text = format!("{{\"key\":{:?}}}", "x".repeat(CLAIM_BYTES / 3)).into();
    for number in (0..9).rev() {
        let mut job = job(number, State::Enqueued { enqueued_at: 0 }, if number == 8 { &huge } else { "[]" });
        if number < 8 && number > 3 {
            job.edit_extras(|extras: &mut Extras| extras.metadata = Some(third.clone()));
        }
        sizes.push(job.text_len());
        engine.enqueue(0, job).expect("a new id");
    }
    let mut next = 0;
    for batch in [&[8][..], &[7, 6], &[5, 4, 3, 2, 1, 0]] {
        assert_eq!(claim(&mut engine, 0, 100), batch);
        let text: usize = sizes[next..next + batch.len()].iter().sum();
        next += batch.len();
        assert!(batch.len() == 1 || text <= CLAIM_BYTES);
        assert!(sizes.get(next).is_none_or(|size| text + size > CLAIM_BYTES), "{batch:?} left room");
    }
}

/// A page that finds little ends after a bounded walk and says where to go on; the pages together miss nothing \[Q5\].
#[test]
fn a_list_that_finds_little_goes_on_page_by_page() {
    let mut engine = engine(3);
    for number in 0..MANY {
        let mut job = job(number, State::Enqueued { enqueued_at: 0 }, "[]");
        job.queue = if number % 9_999 == 0 { "rare" } else { "common" }.into();
        engine.enqueue(0, job).expect("a new id");
    }
    let (rare, common) = (Name::from("rare"), Name::from("common"));
    let walk = |queue: Option<&Name>, mut skip: usize, limit: usize| {
        let (mut jobs, mut pages, mut next) = (Vec::new(), 0, Some(u64::MAX));
        while let Some(below) = next {
            let page = engine.list(None, queue, below, &mut skip, limit);
            assert!(page.jobs.len() <= limit && page.next.is_none_or(|next| next < below));
            jobs.extend(page.jobs.iter().map(|job| job.priority));
            pages += 1;
            next = page.next;
        }
        (jobs, pages)
    };
    let multiples: Vec<i32> = (0..=10).rev().map(|number| number * 9_999).collect();
    let (jobs, pages) = walk(Some(&rare), 0, BATCH);
    assert_eq!(jobs, multiples);
    assert!(pages > 2, "one page walked over {MANY} jobs");
    assert_eq!(walk(Some(&rare), 4, 3).0, multiples[4..]);
    let (jobs, pages) = walk(None, 99_990, BATCH);
    assert_eq!(jobs, (0..10).rev().collect::<Vec<i32>>());
    assert!(pages > 2, "one page skipped {MANY} jobs");
    let (jobs, _) = walk(Some(&common), 0, BATCH);
    assert_eq!(jobs.len(), MANY as usize - multiples.len());
    assert!(jobs.is_sorted_by(|newer, older| newer > older));
}

/// Queues and priorities that nothing uses any more leave nothing behind.
#[test]
fn many_queues_and_priorities_pass_through() {
    let mut engine = engine(3);
    for number in 0..MANY {
        let mut job = job(number, State::Enqueued { enqueued_at: 0 }, "[]");
        job.queue = format!("queue-{}", number % 1_999).into();
        engine.enqueue(0, job).expect("a new id");
    }
    let all: Vec<u32> = (0..MANY).rev().collect();
    let mut claimed = claim(&mut engine, 0, BATCH);
    // Some of the queues, named twice each: the best of these only.
    let some: Vec<Name> = (0..40).map(|number| format!("queue-{}", number % 20).into()).collect();
    let of_some = engine.claim(0, &Name::from("worker"), Some(&some), BATCH, None);
    let expected: Vec<u32> = all[BATCH..].iter().copied().filter(|number| number % 1_999 < 20).take(BATCH).collect();
    let of_some: Vec<u32> =
        of_some.iter().map(|claimed| u32::try_from(claimed.job.priority).expect("as given")).collect();
    assert_eq!(of_some, expected);
    let rest: Vec<u32> = all.iter().copied().filter(|number| !of_some.contains(number)).collect();
    while claimed.len() < rest.len() {
        claimed.extend(claim(&mut engine, 0, BATCH));
    }
    assert_eq!(claimed, rest);
    for number in 0..MANY {
        assert!(engine.delete(0, &format!("job-{number}")));
    }
    assert_eq!(engine.verify(), Vec::<String>::new());
    assert!(engine.is_empty());
}

fn processing() -> State {
    State::Processing { started_at: 0, worker_id: "worker".into(), server_name: "here".into() }
}
