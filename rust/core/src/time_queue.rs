//! Jobs in order of a time.
//!
//! Ready, due, lapse and finish order are all "by time, then by sequence", and in all of them almost every job comes in
//! behind the last one: clocks move forward. So the main part is a plain queue, with a tree beside it for the few that come
//! in earlier. An entry is not searched when its job moves on; it goes stale (its stamp is no longer the slot's) and is
//! dropped when it reaches the front or when stale entries outnumber the live ones. Each costs a few nanoseconds, where a
//! balanced tree costs two searches a job.

use std::collections::{BTreeMap, VecDeque};

use crate::slots::{Slot, Stamps};
use crate::time::Micros;

/// What the order goes by.
pub(crate) type Key = (Micros, u64);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) time: Micros,
    pub(crate) sequence: u64,
    pub(crate) slot: Slot,
    pub(crate) stamp: u32,
}

impl Entry {
    pub(crate) fn key(&self) -> Key {
        (self.time, self.sequence)
    }
}

/// Stale entries that are tolerated however few live ones there are: below this a sweep is not worth its call.
const SLACK: usize = 64;

/// The stamps decide which entries count: whoever moves a job on bumps its stamp first, then calls [`TimeQueue::forget`].
#[derive(Debug, Default)]
pub(crate) struct TimeQueue {
    run: VecDeque<Entry>,
    late: BTreeMap<Key, (Slot, u32)>,
    live: usize,
}

impl TimeQueue {
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    pub(crate) fn push(&mut self, entry: Entry, stamps: &Stamps) {
        while self.run.back().is_some_and(|back| !stamps.is_current(back.slot, back.stamp)) {
            self.run.pop_back();
        }
        self.live += 1;
        if self.run.back().is_none_or(|back| back.key() <= entry.key()) {
            self.run.push_back(entry);
        } else {
            // A stale entry of the same key is simply replaced.
            self.late.insert(entry.key(), (entry.slot, entry.stamp));
        }
    }

    /// One entry has gone stale.
    pub(crate) fn forget(&mut self, stamps: &Stamps) {
        self.live -= 1;
        self.tidy(stamps);
    }

    /// The first live entry.
    pub(crate) fn first(&mut self, stamps: &Stamps) -> Option<Entry> {
        if self.live == 0 {
            return None;
        }
        while self.run.front().is_some_and(|front| !stamps.is_current(front.slot, front.stamp)) {
            self.run.pop_front();
        }
        if self.late.is_empty() {
            return self.run.front().copied();
        }
        while let Some(first) = self.late.first_entry()
            && !stamps.is_current(first.get().0, first.get().1)
        {
            first.remove();
        }
        let late = self.first_late();
        match (self.run.front(), late) {
            (Some(run), Some(late)) if late.key() < run.key() => Some(late),
            (Some(run), _) => Some(*run),
            (None, late) => late,
        }
    }

    /// Live entries in order, from behind `after`, without touching anything.
    pub(crate) fn iter<'a>(&'a self, after: Option<Key>, stamps: &'a Stamps) -> impl Iterator<Item = Entry> + 'a {
        let start = after.map_or(0, |key| self.run.partition_point(|entry| entry.key() <= key));
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let mut run = self.run.range(start..).copied().peekable();
        let mut late = self
            .late
            .range((from, std::ops::Bound::Unbounded))
            .map(|(&(time, sequence), &(slot, stamp))| Entry { time, sequence, slot, stamp })
            .peekable();
        std::iter::from_fn(move || match (run.peek(), late.peek()) {
            (Some(a), Some(b)) if b.key() < a.key() => late.next(),
            (Some(_), _) => run.next(),
            (None, _) => late.next(),
        })
        .filter(|entry| stamps.is_current(entry.slot, entry.stamp))
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn first_late(&self) -> Option<Entry> {
        self.late.first_key_value().map(|(&(time, sequence), &(slot, stamp))| Entry { time, sequence, slot, stamp })
    }

    fn tidy(&mut self, stamps: &Stamps) {
        if self.live == 0 {
            // All that is left is stale; the buffer stays for the next job unless a wave has left it large.
            self.run.clear();
            self.late.clear();
            if self.run.capacity() > 16 * SLACK {
                self.run.shrink_to(SLACK);
            }
            return;
        }
        let held = self.run.len() + self.late.len();
        if held <= 2 * self.live + SLACK {
            return;
        }
        self.run.retain(|entry| stamps.is_current(entry.slot, entry.stamp));
        self.late.retain(|_, &mut (slot, stamp)| stamps.is_current(slot, stamp));
        if self.run.capacity() > 4 * self.run.len() + SLACK {
            self.run.shrink_to(2 * self.run.len() + SLACK);
        }
    }
}
