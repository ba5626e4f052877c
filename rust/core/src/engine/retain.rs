//! Making room: purge, retention, capacity.

use super::{Engine, FINAL, Keep, final_at};
use crate::error::Error;
use crate::slots::Slot;
use crate::state::Kind;
use crate::time::Micros;

impl Engine {
    /// Deletes jobs of these final kinds that entered their state at least `older_than` ago, oldest first, `limit` at the
    /// most \[Q17\]. How many that were.
    pub fn purge(&mut self, now: Micros, kinds: &[Kind], older_than: Micros, limit: usize) -> usize {
        self.set_now(now);
        let cutoff = self.now.saturating_sub(older_than);
        let mut purged = 0;
        while purged < limit {
            match self.longest_finished(kinds) {
                Some((at, slot)) if at <= cutoff => self.erase(slot),
                _ => break,
            }
            purged += 1;
        }
        purged
    }

    /// Purges what is kept for a time only, a step of `limit` for each such kind \[C1\].
    pub fn expire(&mut self, now: Micros, limit: usize) -> usize {
        let keep = self.options.keep;
        FINAL
            .iter()
            .zip(keep)
            .map(|(&kind, keep)| match keep {
                Keep::For(age) => self.purge(now, &[kind], age, limit),
                Keep::Forever | Keep::Never => 0,
            })
            .sum()
    }

    /// Makes room for that many more jobs, or says that there is none and has removed nothing \[C2\].
    pub(super) fn make_room(&mut self, more: usize) -> Result<(), Error> {
        let Some(max_jobs) = self.options.max_jobs else { return Ok(()) };
        let excess = (self.len() + more).saturating_sub(max_jobs);
        if excess == 0 || more == 0 {
            return Ok(());
        }
        let finished: usize = self.finished.iter().map(crate::time_queue::TimeQueue::len).sum();
        if !self.options.auto_cleanup || finished < excess {
            return Err(Error::Capacity { max_jobs });
        }
        for _ in 0..excess {
            if let Some((_, slot)) = self.longest_finished(&FINAL) {
                self.erase(slot);
            }
        }
        Ok(())
    }

    fn longest_finished(&mut self, kinds: &[Kind]) -> Option<(Micros, Slot)> {
        kinds
            .iter()
            .filter_map(|&kind| self.finished[final_at(kind)?].first(&self.slots.stamps))
            .min_by_key(super::Entry::key)
            .map(|entry| (entry.time, entry.slot))
    }
}
