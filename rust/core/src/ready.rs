//! Available jobs in claim order: priority, highest first; then due time; then sequence \[Q24\].
//!
//! Each queue keeps its own order and a claim merges the heads of the queues that it asks for, so that a backlog in one
//! queue costs another nothing. An order over all queues would have to be kept by every enqueue and claim; merging costs
//! only the claims that ask for many queues, in proportion to those that are not empty \[Q22\].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::name::Name;
use crate::slots::{Slot, Stamps};
use crate::time::Micros;
use crate::time_queue::{Entry, TimeQueue};

/// Number of a queue, while any record names it.
pub(crate) type QueueId = u32;

/// A place in claim order, over all queues.
pub(crate) type Rank = (Reverse<i32>, Micros, u64);

#[derive(Debug)]
struct Queue {
    name: Name,
    /// Records of any state that name this queue; at 0 the queue is forgotten, so that names do not pile up.
    records: usize,
    ready: usize,
    /// By priority. Emptied levels stay (few priorities are in use and they come back at once) until `MAX_IDLE_LEVELS`.
    levels: BTreeMap<Reverse<i32>, TimeQueue>,
    /// Where the queue stands in `Ready::busy`.
    busy_at: Option<usize>,
}

const MAX_IDLE_LEVELS: usize = 8;

impl Queue {
    fn first(&mut self, stamps: &Stamps) -> Option<(Rank, Slot)> {
        self.levels.iter_mut().find_map(|(&priority, level)| {
            level.first(stamps).map(|entry| ((priority, entry.time, entry.sequence), entry.slot))
        })
    }

    fn iter<'a>(&'a self, after: Option<Rank>, stamps: &'a Stamps) -> impl Iterator<Item = (Rank, Slot)> + 'a {
        let from = after.map_or(std::ops::Bound::Unbounded, |(priority, ..)| std::ops::Bound::Included(priority));
        self.levels.range((from, std::ops::Bound::Unbounded)).flat_map(move |(&priority, level)| {
            let behind = after.filter(|(other, ..)| *other == priority).map(|(_, time, sequence)| (time, sequence));
            level.iter(behind, stamps).map(move |entry| ((priority, entry.time, entry.sequence), entry.slot))
        })
    }
}

/// The ready jobs of all queues.
#[derive(Debug)]
pub(crate) struct Ready {
    by_name: HashMap<Name, QueueId, FixedState>,
    queues: Vec<Option<Queue>>,
    free: Vec<QueueId>,
    /// The queues that hold a ready job.
    busy: Vec<QueueId>,
    /// Ready jobs of all queues together.
    total: usize,
}

impl Ready {
    pub(crate) fn new(hash_seed: u64) -> Self {
        Self {
            by_name: HashMap::with_hasher(FixedState::with_seed(hash_seed)),
            queues: Vec::new(),
            free: Vec::new(),
            busy: Vec::new(),
            total: 0,
        }
    }

    /// The queue of that name, made where it is new, for one more record. The name becomes the shared copy of itself.
    pub(crate) fn hold(&mut self, name: &mut Name) -> QueueId {
        if let Some(&id) = self.by_name.get(name)
            && let Some(queue) = self.queues[id as usize].as_mut()
        {
            queue.records += 1;
            if !Name::ptr_eq(name, &queue.name) {
                name.clone_from(&queue.name);
            }
            return id;
        }
        let queue = Queue { name: name.clone(), records: 1, ready: 0, levels: BTreeMap::new(), busy_at: None };
        let id = if let Some(id) = self.free.pop() {
            self.queues[id as usize] = Some(queue);
            id
        } else {
            // Fewer than records, whose number fits.
            #[allow(clippy::cast_possible_truncation)]
            let id = self.queues.len() as QueueId;
            self.queues.push(Some(queue));
            id
        };
        self.by_name.insert(name.clone(), id);
        id
    }

    /// One record less names the queue.
    pub(crate) fn let_go(&mut self, id: QueueId) {
        let place = &mut self.queues[id as usize];
        let Some(queue) = place else { return };
        queue.records -= 1;
        if queue.records == 0 {
            self.by_name.remove(&queue.name);
            *place = None;
            self.free.push(id);
        }
    }

    pub(crate) fn find(&self, name: &str) -> Option<QueueId> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn name(&self, id: QueueId) -> Option<&Name> {
        self.queues[id as usize].as_ref().map(|queue| &queue.name)
    }

    pub(crate) fn push(&mut self, id: QueueId, priority: i32, entry: Entry, stamps: &Stamps) {
        let Some(queue) = self.queues[id as usize].as_mut() else { return };
        queue.levels.entry(Reverse(priority)).or_default().push(entry, stamps);
        queue.ready += 1;
        self.total += 1;
        if queue.busy_at.is_none() {
            queue.busy_at = Some(self.busy.len());
            self.busy.push(id);
        }
    }

    /// A job of that queue and priority has left: its entry has gone stale.
    pub(crate) fn forget(&mut self, id: QueueId, priority: i32, stamps: &Stamps) {
        let Some(queue) = self.queues[id as usize].as_mut() else { return };
        if let Some(level) = queue.levels.get_mut(&Reverse(priority)) {
            level.forget(stamps);
            if level.len() == 0 && queue.levels.len() > MAX_IDLE_LEVELS {
                queue.levels.remove(&Reverse(priority));
            }
        }
        queue.ready -= 1;
        self.total -= 1;
        if queue.ready == 0 {
            self.idle(id);
        }
    }

    /// Removes the queue from the busy ones by putting the last in its place.
    fn idle(&mut self, id: QueueId) {
        let Some(at) = self.queues[id as usize].as_mut().and_then(|queue| queue.busy_at.take()) else { return };
        self.busy.swap_remove(at);
        if let Some(&moved) = self.busy.get(at)
            && let Some(queue) = self.queues[moved as usize].as_mut()
        {
            queue.busy_at = Some(at);
        }
    }

    /// Ready jobs of a queue.
    pub(crate) fn len(&self, id: QueueId) -> usize {
        self.queues[id as usize].as_ref().map_or(0, |queue| queue.ready)
    }

    /// Whether any job is ready in one of these queues, or in any.
    pub(crate) fn any(&self, names: Option<&[Name]>) -> bool {
        match names {
            None => !self.busy.is_empty(),
            Some(names) => names.iter().any(|name| self.find(name).is_some_and(|id| self.len(id) > 0)),
        }
    }

    /// Ready jobs of all queues together.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// The one queue that a claim of these has to look at, if it is one.
    pub(crate) fn only(&self, names: Option<&[Name]>) -> Option<QueueId> {
        match (names, &*self.busy) {
            (None, [id]) => Some(*id),
            (Some([name]), _) => self.find(name),
            _ => None,
        }
    }

    /// The numbers of the queues asked for that hold a ready job, each once.
    pub(crate) fn busy(&self, names: Option<&[Name]>) -> Vec<QueueId> {
        match names {
            None => self.busy.clone(),
            Some([name]) => self.find(name).into_iter().collect(),
            Some(names) => {
                let mut ids: Vec<_> =
                    names.iter().filter_map(|name| self.find(name)).filter(|&id| self.len(id) > 0).collect();
                ids.sort_unstable();
                ids.dedup();
                ids
            }
        }
    }

    /// The first ready job of a queue.
    pub(crate) fn first(&mut self, id: QueueId, stamps: &Stamps) -> Option<(Rank, Slot)> {
        self.queues[id as usize].as_mut()?.first(stamps)
    }

    /// Ready jobs of all queues in claim order, from behind `after`.
    pub(crate) fn iter<'a>(
        &'a self,
        after: Option<Rank>,
        stamps: &'a Stamps,
    ) -> impl Iterator<Item = (Rank, Slot)> + 'a {
        let mut walks: Vec<_> = self
            .busy
            .iter()
            .filter_map(|&id| self.queues[id as usize].as_ref())
            .map(|queue| queue.iter(after, stamps))
            .collect();
        let mut heads: BinaryHeap<_> = walks
            .iter_mut()
            .enumerate()
            .filter_map(|(walk, jobs)| jobs.next().map(|(rank, slot)| Reverse((rank, slot, walk))))
            .collect();
        std::iter::from_fn(move || {
            let Reverse((rank, slot, walk)) = heads.pop()?;
            if let Some((rank, slot)) = walks[walk].next() {
                heads.push(Reverse((rank, slot, walk)));
            }
            Some((rank, slot))
        })
    }

    pub(crate) fn clear(&mut self) {
        self.by_name.clear();
        self.queues.clear();
        self.free.clear();
        self.busy.clear();
        self.total = 0;
    }

    /// What the audit needs: name, records and ready jobs of each queue, and the sum of its levels.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (QueueId, &Name, usize, usize, usize)> {
        self.queues.iter().enumerate().filter_map(|(id, queue)| {
            let queue = queue.as_ref()?;
            let levels = queue.levels.values().map(TimeQueue::len).sum();
            // As in `hold`.
            #[allow(clippy::cast_possible_truncation)]
            Some((id as QueueId, &queue.name, queue.records, queue.ready, levels))
        })
    }

    pub(crate) fn busy_len(&self) -> usize {
        self.busy.len()
    }
}
