//! Availability, waves, claims.

use std::cmp::Reverse;
use std::collections::HashSet;

use ferroq_core::{Claimed, Job, Kind, Micros, Name, State, Text};

use super::{Branch, Claim, Model};

/// [Q26]
const WAVE: usize = 100;

impl Model {
    /// [L4]: one more lapse and it has failed.
    pub(super) fn is_doomed(&self, at: usize) -> bool {
        let record = &self.records[at];
        record.kind() == Kind::Processing && record.job.crash_count + 1 >= self.options.max_crashes
    }

    /// Whether a claim would take it [Q23].
    pub(super) fn is_free(&self, at: usize) -> bool {
        let record = &self.records[at];
        !record.kind().is_final() && record.event().is_none() && !self.is_doomed(at)
    }

    /// The free jobs in claim order [Q24].
    fn free(&self, queues: Option<&[Name]>) -> Vec<usize> {
        let mut free: Vec<usize> = (0..self.records.len())
            .filter(|&at| self.is_free(at))
            .filter(|&at| queues.is_none_or(|queues| queues.contains(&self.records[at].job.queue)))
            .collect();
        free.sort_by_key(|&at| {
            let record = &self.records[at];
            (Reverse(record.job.priority), record.due, record.job.sequence)
        });
        free
    }

    /// The jobs that have come due, have lapsed, or were held by an explicit lock that has ended, in order of these times.
    fn wave(&self) -> Vec<usize> {
        let at_time = |at: &usize| self.records[*at].event().map(|time| (time, self.records[*at].job.sequence));
        let mut wave: Vec<usize> = (0..self.records.len())
            .filter(|&at| self.records[at].event().is_some_and(|time| time <= self.now))
            .collect();
        wave.sort_by_key(at_time);
        wave
    }

    /// [Q26]: notices that many of the wave.
    fn take_over(&mut self, budget: usize) {
        let wave = self.wave();
        for &at in wave.iter().take(budget) {
            let lock_ends = self.explicit(self.records[at].id()).map(|lock| lock.expires_at);
            let (kind, was_found) = (self.records[at].kind(), self.records[at].found);
            let parked = was_found || kind == Kind::Enqueued;
            self.hit(if parked { Branch::ParkedLater } else { Branch::Found });
            self.hit_if(!parked && lock_ends.is_some(), Branch::FoundUnderExplicit);
            self.records[at].found = true;
            self.records[at].parked_until = lock_ends;
        }
        for &at in wave.iter().skip(budget) {
            let (kind, found) = (self.records[at].kind(), self.records[at].found);
            self.hit(match kind {
                _ if found => Branch::LeftInWaveParked,
                Kind::Processing => Branch::LeftInWaveLapsed,
                Kind::Enqueued => Branch::LeftInWaveParked,
                _ => Branch::LeftInWaveDue,
            });
        }
    }

    /// [L4]: of every queue, but none under a live explicit lock, in order of their lapse.
    fn fail_doomed(&mut self, budget: usize, queues: Option<&[Name]>) {
        let mut doomed: Vec<usize> = (0..self.records.len()).filter(|&at| self.is_doomed(at)).collect();
        let held = |at: usize| self.records[at].found && self.explicit(self.records[at].id()).is_some();
        self.hit_if(doomed.iter().any(|&at| held(at)), Branch::DoomedUnderExplicit);
        doomed.retain(|&at| self.records[at].event().is_none());
        doomed.sort_by_key(|&at| {
            let record = &self.records[at];
            (record.claim.map(|claim| claim.expires_at), record.job.sequence)
        });
        self.hit_if(doomed.len() > budget, Branch::DoomedLeft);
        for &at in doomed.iter().take(budget) {
            let elsewhere = queues.is_some_and(|queues| !queues.contains(&self.records[at].job.queue));
            self.hit(Branch::CrashFailed);
            self.hit_if(elsewhere, Branch::CrashFailedInAnotherQueue);
            self.hit_if(self.vanishes(Kind::Failed), Branch::CrashFailedIsKept);
            let now = self.now;
            let record = &mut self.records[at];
            record.job.crash_count += 1;
            record.job.version += 1;
            record.job.state = State::Failed {
                failed_at: now,
                exception: format!("lock lapsed {} times", record.job.crash_count).into(),
                stack_trace: None,
                retry_count: record.job.retry_count,
            };
            record.claim = None;
            record.entered_at = now;
            self.place(at);
        }
    }

    /// [Q8], [Q11], [L4]
    pub(crate) fn claim(
        &mut self,
        now: Micros,
        worker: &Name,
        queues: Option<&[Name]>,
        limit: usize,
        lock_timeout: Option<Micros>,
    ) -> Vec<Claimed> {
        self.tick(now);
        if limit == 0 {
            return Vec::new();
        }
        let budget = WAVE.max(limit);
        self.take_over(budget);
        self.fail_doomed(budget, queues);
        let free = self.free(queues);
        self.hit_claim(&free, limit, queues);
        let timeout = lock_timeout.unwrap_or(self.options.lock_timeout);
        free.into_iter().take(limit).filter_map(|at| self.claim_one(at, worker, timeout)).collect()
    }

    fn claim_one(&mut self, at: usize, worker: &Name, timeout: Micros) -> Option<Claimed> {
        let now = self.now;
        let lapsed = self.records[at].kind() == Kind::Processing;
        let same = matches!(&self.records[at].job.state, State::Processing { worker_id, .. } if worker_id == worker);
        self.hit_if(lapsed, Branch::TakenOver);
        self.hit_if(same, Branch::TakenOverBySameWorker);
        let claim = Claim { token: self.next_token(), expires_at: now + timeout };
        let server_name = self.options.server_name.clone();
        let record = &mut self.records[at];
        record.job.state = State::Processing { started_at: now, worker_id: worker.clone(), server_name };
        record.job.version += 1;
        record.job.attempt += 1;
        record.job.crash_count += u32::from(lapsed);
        record.entered_at = now;
        record.claim = Some(claim);
        let claimed = Claimed { job: record.job.clone(), lock: record.lock()? };
        self.place(at);
        Some(claimed)
    }

    fn hit_claim(&mut self, free: &[usize], limit: usize, queues: Option<&[Name]>) {
        let tie = |pair: &[usize]| {
            let (a, b) = (&self.records[pair[0]], &self.records[pair[1]]);
            (a.job.priority, a.due) == (b.job.priority, b.due)
        };
        let ties = free.windows(2).any(tie);
        let across = free.windows(2).any(|pair| {
            let (a, b) = (&self.records[pair[0]].job, &self.records[pair[1]].job);
            tie(pair) && a.queue != b.queue
        });
        self.hit_if(ties, Branch::TieBySequence);
        self.hit_if(across, Branch::TieAcrossQueues);
        self.hit_if(free.len() > limit, Branch::ClaimLimited);
        let due_in_vain = self.wave().into_iter().any(|at| {
            let queue = &self.records[at].job.queue;
            queues.is_none_or(|queues| queues.contains(queue))
        });
        self.hit_if(free.is_empty() && due_in_vain, Branch::EmptyWhileWave);
    }

    /// [Q7]: all that is free, in claim order, after the tidying of a claim of that limit.
    pub(crate) fn available(&mut self, now: Micros, limit: usize) -> Vec<Job> {
        self.tick(now);
        self.take_over(WAVE.max(limit));
        self.free(None).into_iter().map(|at| self.records[at].job.clone()).collect()
    }

    /// [Q16]: whether a claim may succeed; true also while a wave is not wholly taken over.
    pub(crate) fn may_claim(&mut self, now: Micros, queues: Option<&[Name]>) -> bool {
        self.tick(now);
        self.take_over(WAVE);
        let (free, wave) = (!self.free(queues).is_empty(), !self.wave().is_empty());
        self.hit(match (free, wave) {
            (true, _) => Branch::MayClaim,
            (false, true) => Branch::MayClaimInWave,
            (false, false) => Branch::MayNotClaim,
        });
        free || wave
    }

    /// When the next job comes due or lapses, or is let go by an explicit lock that ends.
    pub(crate) fn next_event(&self) -> Option<Micros> {
        self.records.iter().filter_map(super::Record::event).min()
    }

    /// Id and queue of every job that is available at that moment \[Q23\], noticed or not.
    pub(crate) fn available_at(&self, now: Micros) -> HashSet<(Text, Name)> {
        let now = now.max(self.now);
        let held: HashSet<&str> =
            self.locks.iter().filter(|lock| now < lock.expires_at).map(|lock| &*lock.id).collect();
        let is_available = |at: usize| {
            let record = &self.records[at];
            let waits = match record.kind() {
                Kind::Enqueued => true,
                Kind::Scheduled | Kind::AwaitingRetry => record.due <= now,
                Kind::Processing => !record.is_live(now) && !self.is_doomed(at),
                Kind::Succeeded | Kind::Failed | Kind::Deleted => false,
            };
            waits && !held.contains(record.id())
        };
        let available = (0..self.records.len()).filter(|&at| is_available(at)).map(|at| &self.records[at].job);
        available.map(|job| (job.body.id().into(), job.queue.clone())).collect()
    }
}
