//! The ends of claims without a result, renewal, and explicit locks.

use ferroq_core::{Micros, Name, Released, State, Text, Token};

use super::{Branch, Claim, Explicit, Model, Trace, own_due};

impl Model {
    /// [Q15]
    pub(crate) fn release(&mut self, now: Micros, id: &str, token: Token, delay: Option<Micros>) -> Option<Released> {
        self.tick(now);
        let now = self.now;
        let state = match delay {
            Some(delay) if delay > 0 => {
                State::Scheduled { scheduled_at: now, enqueue_at: now + delay, reason: "released".into() }
            }
            _ => State::Enqueued { enqueued_at: now },
        };
        let at = self.at(id)?;
        let holds = self.records[at].claim.is_some_and(|claim| claim.token == token);
        if !holds {
            let Some(accepted) = self.repeat(at, token, state.kind()) else {
                self.hit(Branch::ReleaseLost);
                return None;
            };
            self.hit(Branch::ReleaseRepeated);
            let stored = &self.records[at].job.state;
            let state = if stored.kind() == state.kind() { stored.clone() } else { state };
            return Some(Released { accepted, state });
        }
        self.hit(match delay {
            None => Branch::Released,
            Some(0) => Branch::ReleasedWithoutDelay,
            Some(_) => Branch::ReleasedLater,
        });
        self.hit_if(!self.records[at].is_live(now), Branch::ReleasedLapsed);
        self.give_back(at, state.clone());
        let record = &mut self.records[at];
        record.job.attempt = record.job.attempt.saturating_sub(1);
        record.trace = Some(Trace { token: Some(token), kind: state.kind(), version: record.job.version });
        Some(Released { accepted: record.accepted(), state })
    }

    /// The end of a claim without a result. Its place in claim order stays unless there is a delay \[Q24\].
    fn give_back(&mut self, at: usize, state: State) {
        let record = &mut self.records[at];
        let ahead = record.due < self.now;
        if let Some(due) = own_due(&state) {
            record.due = due;
        }
        record.entered_at = self.now;
        record.job.version += 1;
        record.job.state = state;
        record.claim = None;
        self.place(at);
        self.hit_if(ahead, Branch::PlaceKept);
    }

    /// [Q14]
    pub(crate) fn extend(&mut self, now: Micros, id: &str, token: Token, timeout: Micros) -> Option<Micros> {
        self.tick(now);
        let expires_at = self.now + timeout;
        let at = self.at(id).filter(|&at| self.records[at].claim.is_some_and(|claim| claim.token == token));
        let Some(at) = at else {
            self.hit(Branch::ExtendLost);
            return None;
        };
        self.hit(if self.records[at].is_live(self.now) { Branch::Extended } else { Branch::ExtendedLapsed });
        self.hit_if(self.records[at].found, Branch::ExtendedFound);
        self.records[at].claim = Some(Claim { token, expires_at });
        self.place(at);
        Some(expires_at)
    }

    /// [L5]
    pub(crate) fn try_lock(&mut self, now: Micros, id: &str, worker: &Name, timeout: Micros) -> bool {
        self.tick(now);
        if self.explicit(id).is_some() {
            self.hit(Branch::LockTaken);
            return false;
        }
        let at = self.at(id);
        if at.is_some_and(|at| self.records[at].is_live(self.now)) {
            self.hit(Branch::LockRefusedByClaim);
            return false;
        }
        let expires_at = self.now + timeout;
        self.hit_if(self.locks.iter().any(|lock| *lock.id == *id), Branch::LockAfterLapse);
        self.locks.retain(|lock| *lock.id != *id);
        self.locks.push(Explicit { id: id.into(), worker: worker.clone(), expires_at });
        let Some(at) = at else {
            self.hit(Branch::LockWithoutJob);
            return true;
        };
        self.hit_if(self.is_free(at), Branch::LockParksReady);
        self.hit_if(self.is_doomed(at) && self.records[at].event().is_none(), Branch::LockParksDoomed);
        self.records[at].parked_until = Some(expires_at);
        true
    }

    /// [L6]
    pub(crate) fn unlock(&mut self, now: Micros, id: &str, worker: &str) -> bool {
        self.tick(now);
        if self.explicit(id).is_some_and(|lock| *lock.worker == *worker) {
            self.hit(Branch::Unlocked);
            self.locks.retain(|lock| *lock.id != *id);
            if let Some(at) = self.at(id) {
                self.records[at].parked_until = None;
                self.hit_if(self.is_free(at), Branch::UnlockFrees);
                self.hit_if(self.is_doomed(at) && self.records[at].event().is_none(), Branch::UnlockDooms);
            }
            return true;
        }
        let Some(at) = self.at(id) else { return false };
        let mine = matches!(&self.records[at].job.state, State::Processing { worker_id, .. } if **worker_id == *worker);
        if !mine || !self.records[at].is_live(self.now) {
            self.hit_if(mine, Branch::UnlockTooLate);
            return false;
        }
        self.hit(Branch::UnlockedClaim);
        self.give_back(at, State::Enqueued { enqueued_at: self.now });
        true
    }

    /// Id and worker of one of the explicit locks that are live.
    pub(crate) fn held_lock(&self, pick: usize) -> Option<(Text, Name)> {
        let live: Vec<&Explicit> = self.locks.iter().filter(|lock| self.now < lock.expires_at).collect();
        let lock = live.get(pick % live.len().max(1))?;
        Some((lock.id.clone(), lock.worker.clone()))
    }
}
