//! Retention and capacity.

use ferroq_core::{Error, Keep, Kind, Micros};

use super::{Branch, Model};

const FINAL: [Kind; 3] = [Kind::Succeeded, Kind::Failed, Kind::Deleted];

impl Model {
    /// [C1]: 0 seconds is not kept at all.
    pub(super) fn vanishes(&self, kind: Kind) -> bool {
        FINAL.iter().zip(self.options.keep).any(|(&other, keep)| other == kind && keep == Keep::Never)
    }

    /// Finished jobs, the longest finished first.
    fn finished(&self, kinds: &[Kind]) -> Vec<usize> {
        let mut finished: Vec<usize> = (0..self.records.len())
            .filter(|&at| self.records[at].kind().is_final() && kinds.contains(&self.records[at].kind()))
            .collect();
        finished.sort_by_key(|&at| (self.records[at].entered_at, self.records[at].job.sequence));
        finished
    }

    fn erase_all(&mut self, mut places: Vec<usize>) {
        places.sort_unstable();
        for at in places.into_iter().rev() {
            let locked = self.explicit(self.records[at].id()).is_some();
            self.hit_if(locked, Branch::ErasedUnderExplicit);
            self.erase(at);
        }
    }

    /// [Q17]
    pub(crate) fn purge(&mut self, now: Micros, kinds: &[Kind], older_than: Micros, limit: usize) -> usize {
        self.tick(now);
        let mut old = self.finished(kinds);
        let all = old.len();
        old.retain(|&at| self.now - self.records[at].entered_at >= older_than);
        self.hit_if(old.len() < all, Branch::PurgeSparesYoung);
        self.hit_if(old.len() > limit, Branch::PurgeLimited);
        old.truncate(limit);
        let purged = old.len();
        self.hit_if(purged > 0, Branch::Purged);
        self.erase_all(old);
        purged
    }

    /// [C1]: a step of that many for each kind that is kept for a time.
    pub(crate) fn expire(&mut self, now: Micros, limit: usize) -> usize {
        let mut expired = 0;
        for (kind, keep) in FINAL.into_iter().zip(self.options.keep) {
            if let Keep::For(age) = keep {
                expired += self.purge(now, &[kind], age, limit);
            }
        }
        self.hit_if(expired > 0, Branch::Expired);
        expired
    }

    /// [C2]
    pub(super) fn make_room(&mut self, needed: usize) -> Result<(), Error> {
        let Some(max_jobs) = self.options.max_jobs else { return Ok(()) };
        if needed == 0 || self.records.len() + needed <= max_jobs {
            return Ok(());
        }
        let excess = self.records.len() + needed - max_jobs;
        let mut finished = self.finished(&FINAL);
        if !self.options.auto_cleanup || finished.len() < excess {
            self.hit(if self.options.auto_cleanup { Branch::FullOfLiveJobs } else { Branch::Full });
            return Err(Error::Capacity { max_jobs });
        }
        self.hit_if(finished.len() > excess, Branch::MadeRoomByAge);
        finished.truncate(excess);
        self.hit(Branch::MadeRoom);
        self.erase_all(finished);
        Ok(())
    }
}
