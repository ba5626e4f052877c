//! Everything that can be seen, compared after every step.

use std::collections::{HashMap, HashSet};

use ferroq_core::{Job, Kind, Name, Text};

use super::{Outcome, World, named, same};

impl World {
    /// Records, lists, counts, the next event, and the engine's audit of itself.
    pub(super) fn check(&mut self) -> Outcome {
        same("len", &self.engine.len(), &self.model.len())?;
        same("is_empty", &self.engine.is_empty(), &(self.model.len() == 0))?;
        same("counts", &self.engine.counts(), &self.model.counts())?;
        self.check_list(None, None, u64::MAX, 0, usize::MAX)?;
        for kind in Kind::ALL {
            same("count", &self.engine.count(kind), &self.model.counts()[kind as usize])?;
            self.check_list(Some(kind), None, u64::MAX, 0, usize::MAX)?;
        }
        for queue in 0..4 {
            self.check_list(None, Some(&named("q", queue)), u64::MAX, 0, usize::MAX)?;
        }
        let stored: HashMap<&str, &Job> =
            self.model.list(None, None, u64::MAX).map(|job| (job.body.id(), job)).collect();
        for id in &self.ids {
            same("get", &self.engine.get(id).as_ref(), &stored.get(&**id).copied())?;
        }
        same("next_event", &self.engine.next_event(), &self.model.next_event())?;
        same("verify", &self.engine.verify(), &Vec::new())
    }

    /// Page by page to the end, with a skip before \[Q5\].
    pub(super) fn check_list(
        &self,
        kind: Option<Kind>,
        queue: Option<&Name>,
        below: u64,
        skip: usize,
        limit: usize,
    ) -> Outcome {
        let mut expected = self.model.list(kind, queue, below).skip(skip);
        let mut left = skip;
        let mut next = Some(below);
        while let Some(below) = next {
            let page = self.engine.list(kind, queue, below, &mut left, limit);
            if page.jobs.len() > limit {
                return Err(format!("a page of {} jobs, limit {limit}", page.jobs.len()));
            }
            for job in &page.jobs {
                same("list", &Some(job), &expected.next())?;
            }
            if limit == 0 {
                return Ok(());
            }
            next = page.next;
        }
        same("the end of a list", &None, &expected.next())?;
        same("skipped", &left, &skip.saturating_sub(self.model.list(kind, queue, below).count()))
    }

    /// Every job that a step has made available, and not the time that passed, has called for a waiter of its queue
    /// \[Q16\].
    pub(super) fn check_risen(&mut self, before: &HashSet<(Text, Name)>) -> Outcome {
        let risen = self.engine.take_risen();
        if !self.watched {
            return same("risen", &risen, &Vec::new());
        }
        let after = self.model.available_at(self.now);
        for number in 0..4 {
            let queue = named("q", number);
            let news = after.difference(before).filter(|(_, name)| *name == queue).count();
            let calls = risen.iter().filter(|&name| *name == queue).count();
            if calls < news {
                return Err(format!("{news} jobs became available in {queue}, but {calls} waiters were called"));
            }
        }
        Ok(())
    }
}
