//! Explicit locks: by any name, whether a job of that id is stored or not \[L5\].

use std::collections::{BTreeSet, HashMap};

use crate::name::{Name, Text};
use crate::time::Micros;

#[derive(Debug)]
struct Explicit {
    worker: Name,
    expires_at: Micros,
}

/// The lock table. It is almost always small, so its order of expiry is a plain tree. A lapsed lock counts as none from its
/// moment on; claims and new locks remove a few lapsed ones each, so that they do not pile up.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    by_id: HashMap<Text, Explicit>,
    expiry: BTreeSet<(Micros, Text)>,
}

impl Locks {
    /// Who holds the id at that moment.
    pub(crate) fn holder(&self, id: &str, now: Micros) -> Option<&Name> {
        if self.by_id.is_empty() {
            return None;
        }
        self.by_id.get(id).filter(|lock| now < lock.expires_at).map(|lock| &lock.worker)
    }

    /// When the live lock on an id ends.
    pub(crate) fn end(&self, id: &str, now: Micros) -> Option<Micros> {
        self.by_id.get(id).map(|lock| lock.expires_at).filter(|&end| now < end)
    }

    /// Removes that many lapsed locks at the most. They mean nothing any more; only their memory is given back.
    pub(crate) fn tidy(&mut self, now: Micros, limit: usize) {
        for _ in 0..limit {
            let Some((at, id)) = self.expiry.first() else { return };
            if now < *at {
                return;
            }
            let id = id.clone();
            self.free(&id);
        }
    }

    /// Takes the lock, in place of a lapsed one. The caller has looked whether it is free.
    pub(crate) fn take(&mut self, id: &Text, worker: Name, now: Micros, expires_at: Micros) {
        // Two out for one in: a store that is only locked, never claimed from, does not grow.
        self.tidy(now, 2);
        self.free(id);
        self.by_id.insert(id.clone(), Explicit { worker, expires_at });
        self.expiry.insert((expires_at, id.clone()));
    }

    /// Removes the lock; false where there is none.
    pub(crate) fn free(&mut self, id: &str) -> bool {
        match self.by_id.remove_entry(id) {
            Some((id, lock)) => {
                self.expiry.remove(&(lock.expires_at, id));
                true
            }
            None => false,
        }
    }

    /// Whether both halves of the table hold the same locks.
    pub(crate) fn is_sound(&self) -> bool {
        self.by_id.len() == self.expiry.len()
            && self.by_id.iter().all(|(id, lock)| self.expiry.contains(&(lock.expires_at, id.clone())))
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
