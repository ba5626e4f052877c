//! Where records live: numbered slots, reused, each with a stamp that tells live index entries from stale ones.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Number of a record's place in the table.
pub(crate) type Slot = u32;

/// One counter a slot, bumped whenever the record in it enters or leaves an index, also when it is deleted.
///
/// An index entry names a slot and the stamp of the moment when it was made; it counts only while the two agree. A counter
/// would have to come round all of its 2^32 values while one stale entry survives to deceive anybody, and stale entries are
/// swept when they outnumber the live ones.
#[derive(Debug, Default)]
pub(crate) struct Stamps(Vec<u32>);

impl Stamps {
    pub(crate) fn is_current(&self, slot: Slot, stamp: u32) -> bool {
        self.0[slot as usize] == stamp
    }

    pub(crate) fn bump(&mut self, slot: Slot) -> u32 {
        let stamp = &mut self.0[slot as usize];
        *stamp = stamp.wrapping_add(1);
        *stamp
    }
}

/// The table of records.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    records: Vec<Option<T>>,
    free: Vec<Slot>,
    pub(crate) stamps: Stamps,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { records: Vec::new(), free: Vec::new(), stamps: Stamps::default() }
    }
}

impl<T> Slots<T> {
    pub(crate) fn insert(&mut self, record: T) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.records[slot as usize] = Some(record);
            return slot;
        }
        // 2^32 records of more than 200 bytes each do not fit a machine that this runs on.
        #[allow(clippy::cast_possible_truncation)]
        let slot = self.records.len() as Slot;
        self.records.push(Some(record));
        self.stamps.0.push(0);
        slot
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<T> {
        let record = self.records[slot as usize].take();
        if record.is_some() {
            self.stamps.bump(slot);
            self.free.push(slot);
        }
        record
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&T> {
        self.records.get(slot as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.records.get_mut(slot as usize)?.as_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        // As above.
        #[allow(clippy::cast_possible_truncation)]
        self.records.iter().enumerate().filter_map(|(slot, record)| Some((slot as Slot, record.as_ref()?)))
    }
}

/// From a key of the records (their id, their sequence) to the slot, without a copy of the key.
///
/// Half of the hash is kept beside the slot: growing the table then reads no record, and a wrong guess rarely does.
#[derive(Debug, Default)]
pub(crate) struct SlotIndex(HashTable<(u32, Slot)>);

/// Spreads the kept half over the 64 bits that the table looks at.
fn spread(half: u32) -> u64 {
    u64::from(half).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl SlotIndex {
    pub(crate) fn with_capacity(keys: usize) -> Self {
        Self(HashTable::with_capacity(keys))
    }

    pub(crate) fn find(&self, half: u32, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        self.0.find(spread(half), |&(other, slot)| other == half && is_it(slot)).map(|&(_, slot)| slot)
    }

    /// The key must not be in the table.
    pub(crate) fn insert(&mut self, half: u32, slot: Slot) {
        self.0.insert_unique(spread(half), (half, slot), |&(half, _)| spread(half));
    }

    pub(crate) fn remove(&mut self, half: u32, slot: Slot) {
        if let Ok(entry) = self.0.find_entry(spread(half), |&(_, other)| other == slot) {
            entry.remove();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Makes the kept half of a hash. The seed comes from whoever made the engine, which draws no random numbers itself.
#[derive(Debug)]
pub(crate) struct HalfHasher(FixedState);

impl HalfHasher {
    pub(crate) fn new(seed: u64) -> Self {
        Self(FixedState::with_seed(seed))
    }

    pub(crate) fn half(&self, key: impl std::hash::Hash) -> u32 {
        // The upper half is the better mixed one.
        #[allow(clippy::cast_possible_truncation)]
        let half = (self.0.hash_one(key) >> 32) as u32;
        half
    }
}
