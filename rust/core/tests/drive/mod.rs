//! Takes each step on the engine and on the model, and compares the answers and then everything that can be seen.

mod check;
pub(crate) mod steps;

use std::collections::{HashSet, VecDeque};
use std::fmt::Debug;

use ferroq_core::{
    Accepted, Body, Claimed, Cursor, Engine, Extras, Job, Kind, Micros, Name, Options, State, Text, Token,
};

use crate::model::{Hits, Model};
use steps::{Case, Op, Setup, Spec, Step, Tick, Whose};

/// Claims and reads that are remembered, to be misused later.
const REMEMBERED: usize = 12;

/// More jobs than this are not added by bursts: comparing them all after each step is what a run costs.
const MANY: usize = 450;

struct Ticket {
    job: Job,
    token: Token,
}

enum Sent {
    Update(Job, Option<Token>),
    Release(Text, Token, Option<Micros>),
}

pub(crate) type Outcome = Result<(), String>;

fn same<T: PartialEq + Debug>(what: &str, engine: &T, model: &T) -> Outcome {
    if engine == model {
        return Ok(());
    }
    Err(format!("{what}\n  engine: {engine:?}\n  model:  {model:?}"))
}

fn named(prefix: &str, number: u8) -> Name {
    Name::from(format!("{prefix}{number}"))
}

pub(crate) struct World {
    engine: Engine,
    model: Model,
    now: Micros,
    watched: bool,
    /// The ids in use; bursts add to them.
    ids: Vec<Text>,
    tickets: VecDeque<Ticket>,
    copies: VecDeque<Job>,
    sent: Option<Sent>,
    built: u32,
}

impl World {
    pub(crate) fn new(setup: &Setup) -> Self {
        let options = Options {
            lock_timeout: setup.lock_timeout,
            max_crashes: setup.max_crashes,
            server_name: "here".into(),
            max_jobs: setup.max_jobs,
            auto_cleanup: setup.auto_cleanup,
            keep: setup.keep,
            hash_seed: setup.hash_seed,
        };
        let mut engine = Engine::new(options.clone());
        engine.watch(setup.watched);
        Self {
            engine,
            model: Model::new(options),
            now: 1_000,
            watched: setup.watched,
            ids: ["a", "b", "c", "d", "e", "f", "g"].map(Text::from).to_vec(),
            tickets: VecDeque::new(),
            copies: VecDeque::new(),
            sent: None,
            built: 0,
        }
    }

    /// A whole run; what it has reached goes into `hits` if it succeeds.
    pub(crate) fn run(case: &Case, hits: &mut Hits) -> Outcome {
        let mut world = Self::new(&case.setup);
        for (number, step) in case.steps.iter().enumerate() {
            world.step(step).map_err(|difference| format!("step {number}, {step:?}: {difference}"))?;
        }
        world.drain().map_err(|difference| format!("at the end: {difference}"))?;
        hits.add(&world.model.hits);
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Outcome {
        self.tick(step.tick);
        let before = if self.watched { self.model.available_at(self.now) } else { HashSet::new() };
        drop(self.engine.take_risen());
        self.take(&step.op)?;
        if let Some(complaint) = self.model.complaints.pop() {
            return Err(complaint);
        }
        self.check_risen(&before)?;
        self.check()
    }

    fn tick(&mut self, tick: Tick) {
        match tick {
            Tick::Still => {}
            Tick::By(micros) => self.now = self.model.now().max(self.now) + micros,
            Tick::Back(micros) => self.now = self.model.now().max(self.now) - micros,
            Tick::NextEvent { before } => {
                if let Some(at) = self.model.next_event() {
                    self.now = self.now.max(at - before);
                }
            }
        }
    }

    fn take(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Enqueue(spec) => self.enqueue(spec),
            Op::Chunk { specs, skip } => {
                let jobs = specs.iter().map(|spec| self.build(spec)).collect::<Result<_, _>>()?;
                self.chunk(jobs, *skip)
            }
            Op::Update { whose, to, keep_fields } => {
                let (job, held) = self.changed(*whose, to, *keep_fields)?;
                self.sent = Some(Sent::Update(job.clone(), held));
                self.update(&job, held)
            }
            Op::Again => match self.sent.take() {
                None => Ok(()),
                Some(Sent::Update(job, held)) => self.update(&job, held),
                Some(Sent::Release(id, token, delay)) => self.release(&id, token, delay),
            },
            Op::Delete { id } => self.delete(&self.id(*id)),
            Op::DeleteMany { from, ids } => {
                (0..*ids).try_for_each(|more| self.delete(&self.id(from.wrapping_add(more))))
            }
            Op::Release { claim, delay } => {
                let Some(ticket) = self.ticket(*claim) else { return Ok(()) };
                let (id, token) = (Text::from(ticket.job.body.id()), ticket.token);
                self.sent = Some(Sent::Release(id.clone(), token, *delay));
                self.release(&id, token, *delay)
            }
            Op::Extend { claim, timeout } => {
                let Some(ticket) = self.ticket(*claim) else { return Ok(()) };
                let (id, token) = (Text::from(ticket.job.body.id()), ticket.token);
                let engine = self.engine.extend(self.now, &id, token, *timeout);
                same("extend", &engine, &self.model.extend(self.now, &id, token, *timeout))
            }
            Op::TryLock { id, worker, timeout } => self.try_lock(&self.id(*id), *worker, *timeout),
            Op::Unlock { id, worker } => {
                let (id, worker) = (self.id(*id), named("w", *worker));
                let engine = self.engine.unlock(self.now, &id, &worker);
                same("unlock", &engine, &self.model.unlock(self.now, &id, &worker))
            }
            Op::UnlockHeld { pick } => {
                let Some((id, worker)) = self.model.held_lock(usize::from(*pick)) else { return Ok(()) };
                let engine = self.engine.unlock(self.now, &id, &worker);
                same("unlock", &engine, &self.model.unlock(self.now, &id, &worker))
            }
            Op::Claim { worker, queues, limit, timeout } => {
                self.claim(*worker, queues.as_deref(), *limit, *timeout).map(drop)
            }
            Op::Available { limit } => self.available(*limit),
            Op::MayClaim { queues } => {
                let queues = queues.as_deref().map(queue_names);
                let engine = self.engine.may_claim(self.now, queues.as_deref());
                same("may_claim", &engine, &self.model.may_claim(self.now, queues.as_deref()))
            }
            Op::List { kind, queue, below, skip, limit } => {
                let queue = queue.map(|queue| named("q", queue));
                self.check_list(*kind, queue.as_ref(), below.unwrap_or(u64::MAX), *skip, *limit)
            }
            Op::Purge { kinds, older_than, limit } => {
                let engine = self.engine.purge(self.now, kinds, *older_than, *limit);
                same("purge", &engine, &self.model.purge(self.now, kinds, *older_than, *limit))
            }
            Op::Expire { limit } => {
                same("expire", &self.engine.expire(self.now, *limit), &self.model.expire(self.now, *limit))
            }
            Op::Clear => {
                self.engine.clear();
                self.model.clear();
                Ok(())
            }
            Op::Burst { jobs, spread, spec } => self.burst(*jobs, *spread, spec),
            Op::LockMany { from, ids, worker, timeout } => {
                (0..*ids).try_for_each(|more| self.try_lock(&self.id(from.wrapping_add(more)), *worker, *timeout))
            }
        }
    }

    fn id(&self, pick: u16) -> Text {
        self.ids[usize::from(pick) % self.ids.len()].clone()
    }

    /// One of the last claims, 0 the very last.
    fn ticket(&self, pick: u8) -> Option<&Ticket> {
        self.tickets.get(usize::from(pick) % self.tickets.len().max(1))
    }

    fn remember(&mut self, job: &Job) {
        self.copies.push_front(job.clone());
        self.copies.truncate(REMEMBERED);
    }

    fn state(&self, spec: &Spec) -> State {
        let now = self.now;
        let text = Text::from("text");
        match spec.kind {
            Kind::Enqueued => State::Enqueued { enqueued_at: now },
            Kind::Processing => {
                State::Processing { started_at: now, worker_id: named("w", spec.worker), server_name: "there".into() }
            }
            Kind::Succeeded => State::Succeeded { succeeded_at: now, total_duration: 1, result: Some("7".into()) },
            Kind::Failed => {
                State::Failed { failed_at: now, exception: text, stack_trace: None, retry_count: spec.retry_count }
            }
            Kind::Deleted => State::Deleted { deleted_at: now, reason: Some(text) },
            Kind::Scheduled => State::Scheduled { scheduled_at: now, enqueue_at: now + spec.due_in, reason: text },
            Kind::AwaitingRetry => State::AwaitingRetry {
                scheduled_at: now,
                retry_at: now + spec.due_in,
                retry_count: spec.retry_count,
                last_exception: text,
            },
        }
    }

    /// A job as its constructor makes it, or, with junk, as another store has left it.
    fn build(&mut self, spec: &Spec) -> Result<Job, String> {
        self.build_as(&self.id(spec.id), spec)
    }

    fn build_as(&mut self, id: &str, spec: &Spec) -> Result<Job, String> {
        self.built += 1;
        // Each body differs, so that an update that brought its own would be seen.
        let arguments = format!("[{}]", self.built);
        let body = Body::new(id, "method", &arguments, self.now).map_err(|error| error.to_string())?;
        let extras = Extras { timeout_seconds: Some(self.built), ..Extras::default() };
        let junk = u32::from(spec.junk);
        Ok(Job {
            body,
            queue: named("q", spec.queue),
            state: self.state(spec),
            extras: self.built.is_multiple_of(2).then(|| extras.into()),
            priority: spec.priority,
            max_retries: self.built,
            attempt: 7 * junk,
            crash_count: 9 * junk,
            retry_count: 5 * junk,
            version: u64::from(4 * junk),
            sequence: u64::from(3 * junk),
        })
    }

    fn enqueue(&mut self, spec: &Spec) -> Outcome {
        let job = self.build(spec)?;
        let engine = self.engine.enqueue(self.now, job.clone());
        self.model.offer(engine.iter().filter_map(taken));
        same("enqueue", &engine, &self.model.enqueue(self.now, &job))?;
        if let Ok(accepted) = engine {
            self.written_back(job, &accepted);
        }
        Ok(())
    }

    fn chunk(&mut self, jobs: Vec<Job>, skip: bool) -> Outcome {
        let engine = self.engine.enqueue_chunk(self.now, jobs.clone(), skip);
        self.model.offer(engine.iter().flatten().flatten().filter_map(taken));
        same("enqueue_chunk", &engine, &self.model.enqueue_chunk(self.now, &jobs, skip))?;
        for (job, accepted) in jobs.into_iter().zip(engine.unwrap_or_default()) {
            if let Some(accepted) = accepted {
                self.written_back(job, &accepted);
            }
        }
        Ok(())
    }

    fn burst(&mut self, jobs: u16, spread: u16, spec: &Spec) -> Outcome {
        if self.model.len() > MANY {
            return Ok(());
        }
        let mut chunk = Vec::new();
        for number in 0..jobs {
            let id = Text::from(format!("j{}", self.ids.len()));
            self.ids.push(id.clone());
            // Neither in order of the times nor of the priorities.
            let due_in = spec.due_in + i64::from(number * 7 % spread);
            let (queue, priority) = (spec.queue + u8::from(number % 3 == 0), i32::from(number * 5 % 13));
            chunk.push(self.build_as(&id, &Spec { queue, priority, due_in, ..spec.clone() })?);
        }
        self.chunk(chunk, false)
    }

    fn delete(&mut self, id: &str) -> Outcome {
        same("delete", &self.engine.delete(self.now, id), &self.model.delete(self.now, id))
    }

    /// An object to update with, and the token of its claim.
    fn changed(&mut self, whose: Whose, to: &Spec, keep_fields: bool) -> Result<(Job, Option<Token>), String> {
        let base = match whose {
            Whose::Holder(pick) => self.ticket(pick).map(|ticket| (ticket.job.clone(), Some(ticket.token))),
            Whose::Unlocked(pick) => self.ticket(pick).map(|ticket| (ticket.job.clone(), None)),
            Whose::Onlooker(pick) => {
                let copy = self.ticket(pick).and_then(|ticket| self.engine.get(ticket.job.body.id()));
                copy.map(|copy| (copy, None))
            }
            Whose::Reader(pick) => {
                let copy = self.engine.get(&self.id(pick));
                if let Some(copy) = &copy {
                    self.remember(copy);
                }
                copy.map(|copy| (copy, None))
            }
            Whose::StaleReader(pick) => {
                let copy = self.copies.get(usize::from(pick) % self.copies.len().max(1));
                copy.map(|copy| (copy.clone(), None))
            }
        };
        let Some((job, held)) = base else { return Ok((self.build(to)?, None)) };
        if keep_fields {
            return Ok((Job { state: self.state(to), ..job }, held));
        }
        let fresh = self.build_as(&Text::from(job.body.id()), to)?;
        let (attempt, crash_count, retry_count) = (fresh.attempt, fresh.crash_count, fresh.retry_count);
        Ok((Job { version: job.version, sequence: job.sequence, attempt, crash_count, retry_count, ..fresh }, held))
    }

    fn update(&mut self, job: &Job, held: Option<Token>) -> Outcome {
        let engine = self.engine.update(self.now, job, held);
        self.model.offer(engine.iter().filter_map(taken).filter(|&token| held != Some(token)));
        same("update", &engine, &self.model.update(self.now, job, held))?;
        if let Ok(accepted) = engine {
            self.written_back(job.clone(), &accepted);
        }
        Ok(())
    }

    /// What the caller's object shows after an accepted write.
    fn written_back(&mut self, job: Job, accepted: &Accepted) {
        let Accepted { version, sequence, attempt, crash_count, retry_count, ref lock } = *accepted;
        let job = Job { version, sequence, attempt, crash_count, retry_count, ..job };
        self.remember(&job);
        if let Some(lock) = lock {
            self.hold(job, lock.token);
        }
    }

    fn hold(&mut self, job: Job, token: Token) {
        self.tickets.retain(|ticket| ticket.token != token);
        self.tickets.push_front(Ticket { job, token });
        self.tickets.truncate(REMEMBERED);
    }

    fn release(&mut self, id: &str, token: Token, delay: Option<Micros>) -> Outcome {
        let engine = self.engine.release(self.now, id, token, delay);
        same("release", &engine, &self.model.release(self.now, id, token, delay))
    }

    fn try_lock(&mut self, id: &Text, worker: u8, timeout: Micros) -> Outcome {
        let worker = named("w", worker);
        let engine = self.engine.try_lock(self.now, id, &worker, timeout);
        same("try_lock", &engine, &self.model.try_lock(self.now, id, &worker, timeout))
    }

    fn claim(
        &mut self,
        worker: u8,
        queues: Option<&[u8]>,
        limit: usize,
        timeout: Option<Micros>,
    ) -> Result<Vec<Claimed>, String> {
        let worker = named("w", worker);
        let queues = queues.map(queue_names);
        let engine = self.engine.claim(self.now, &worker, queues.as_deref(), limit, timeout);
        self.model.offer(engine.iter().map(|claimed| claimed.lock.token));
        same("claim", &engine, &self.model.claim(self.now, &worker, queues.as_deref(), limit, timeout))?;
        for claimed in &engine {
            self.hold(claimed.job.clone(), claimed.lock.token);
        }
        Ok(engine)
    }

    /// Page by page to the end.
    fn available(&mut self, limit: usize) -> Outcome {
        let expected = self.model.available(self.now, limit);
        let mut seen = Vec::new();
        let mut after: Option<Cursor> = None;
        loop {
            let page = self.engine.available(self.now, after, limit);
            if page.jobs.len() > limit || (page.next.is_some() && page.jobs.len() < limit) {
                return Err(format!("a page of {} available jobs, limit {limit}", page.jobs.len()));
            }
            seen.extend(page.jobs);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        same("available", &seen, &if limit == 0 { Vec::new() } else { expected })
    }

    /// After the random part: whatever was hidden so far shows when all is claimed, and when all is deleted.
    fn drain(&mut self) -> Outcome {
        self.check()?;
        for round in 0..4 {
            self.now = self.model.next_event().map_or(self.now, |at| self.now.max(at));
            while !self.claim(0, None, 7 + 200 * round, Some(1))?.is_empty() {}
            self.check()?;
        }
        for id in self.ids.clone() {
            self.delete(&id)?;
        }
        self.check()?;
        same("what is left", &(self.engine.len(), self.engine.is_empty()), &(0, true))
    }
}

fn queue_names(queues: &[u8]) -> Vec<Name> {
    queues.iter().map(|&queue| named("q", queue)).collect()
}

fn taken(accepted: &Accepted) -> Option<Token> {
    accepted.lock.as_ref().map(|lock| lock.token)
}
