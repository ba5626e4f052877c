//! Reads: nothing here changes a job.

use super::{Engine, TAKEOVER};
use crate::job::Job;
use crate::name::Name;
use crate::ready::Rank;
use crate::state::Kind;
use crate::time::Micros;

/// Steps of a walk that one page takes at the most, so that a filter that matches little, or a long way to skip, holds nobody
/// up for longer than a page that matches.
const STEPS: usize = 16_384;

/// Some jobs of a longer walk, and where the next page begins.
#[derive(Debug)]
pub struct Page<C> {
    /// The jobs, in order.
    pub jobs: Vec<Job>,
    /// What to go on behind; None at the end of the walk.
    pub next: Option<C>,
}

/// A place in claim order to go on behind; opaque.
#[derive(Clone, Copy, Debug)]
pub struct Cursor(Rank);

impl Engine {
    /// The whole record.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Job> {
        self.find(id).and_then(|slot| self.slots.get(slot)).map(|record| record.job.clone())
    }

    /// Stored jobs by kind, in the order of [`Kind::ALL`].
    #[must_use]
    pub fn counts(&self) -> [u64; 7] {
        self.counts
    }

    /// Jobs, newest first, with a sequence below `below` \[Q5\]. `skip` passes over that many of those that match and is
    /// counted down.
    #[must_use]
    pub fn list(
        &self,
        kind: Option<Kind>,
        queue: Option<&Name>,
        below: u64,
        skip: &mut usize,
        limit: usize,
    ) -> Page<u64> {
        let set = kind.map_or(&self.all, |kind| &self.by_kind[kind as usize]);
        let mut page = Page { jobs: Vec::new(), next: None };
        let queue = match queue.map(|name| self.ready.find(name)) {
            None => None,
            Some(Some(id)) => Some(id),
            Some(None) => return page,
        };
        // Nothing is looked up for what is only skipped, unless the queue has to be.
        for (step, sequence) in set.below(below).enumerate() {
            if step == STEPS {
                page.next = Some(sequence + 1);
                break;
            }
            if queue.is_none() && *skip > 0 {
                *skip -= 1;
                continue;
            }
            if page.jobs.len() == limit {
                page.next = Some(sequence + 1);
                break;
            }
            let Some(record) = self.find_sequence(sequence).and_then(|slot| self.slots.get(slot)) else { continue };
            if queue.is_some_and(|queue| queue != record.queue) {
                continue;
            }
            if *skip > 0 {
                *skip -= 1;
                continue;
            }
            page.jobs.push(record.job.clone());
        }
        page
    }

    /// What claims would return now, in claim order \[Q7\]. The first page takes over what is due, as a claim does.
    pub fn available(&mut self, now: Micros, after: Option<Cursor>, limit: usize) -> Page<Cursor> {
        self.set_now(now);
        if after.is_none() {
            self.take_over(TAKEOVER.max(limit));
        }
        let mut page = Page { jobs: Vec::new(), next: None };
        let mut last = None;
        for (rank, slot) in self.ready.iter(after.map(|cursor| cursor.0), &self.slots.stamps) {
            if page.jobs.len() == limit {
                page.next = last.map(Cursor);
                break;
            }
            last = Some(rank);
            page.jobs.extend(self.slots.get(slot).map(|record| record.job.clone()));
        }
        page
    }
}
