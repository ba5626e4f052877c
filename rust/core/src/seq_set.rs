//! A set of sequence numbers that is walked downwards.
//!
//! List order is insertion sequence, descending, for each kind of state. A balanced tree of single numbers would cost two
//! searches for every change of state; sequence numbers are dense, so one bit each, in chunks that vanish when empty, makes
//! a change of state two bit flips and a walk a scan of words.

use std::collections::BTreeMap;

const WORDS: usize = 16;
const BITS: u64 = 64;
const CHUNK: u64 = WORDS as u64 * BITS;

type Chunk = [u64; WORDS];

/// A set of `u64`, with inserts, removals and steps in the logarithm of its number of chunks.
#[derive(Debug, Default)]
pub(crate) struct SeqSet {
    // Never holds an empty chunk, and only chunks below `newest`.
    chunks: BTreeMap<u64, Box<Chunk>>,
    // The highest chunk ever written to, empty or not. Almost every change is there: it costs no search, and a set that
    // empties and fills again (jobs enqueued and claimed one by one) costs no allocation.
    newest: u64,
    hot: Box<Chunk>,
}

fn place(sequence: u64) -> (u64, usize, u64) {
    let bit = sequence % CHUNK;
    // The remainder is under 1024: it fits any usize.
    #[allow(clippy::cast_possible_truncation)]
    let word = (bit / BITS) as usize;
    (sequence / CHUNK, word, 1 << (bit % BITS))
}

impl SeqSet {
    pub(crate) fn insert(&mut self, sequence: u64) {
        let (chunk, word, bit) = place(sequence);
        if chunk > self.newest {
            self.advance(chunk);
        }
        if chunk == self.newest {
            self.hot[word] |= bit;
        } else {
            self.chunks.entry(chunk).or_insert_with(|| Box::new([0; WORDS]))[word] |= bit;
        }
    }

    #[cold]
    fn advance(&mut self, chunk: u64) {
        let full = std::mem::take(&mut self.hot);
        if full.iter().any(|&word| word != 0) {
            self.chunks.insert(self.newest, full);
        }
        self.newest = chunk;
    }

    pub(crate) fn remove(&mut self, sequence: u64) {
        let (chunk, word, bit) = place(sequence);
        if chunk == self.newest {
            self.hot[word] &= !bit;
        } else if let Some(words) = self.chunks.get_mut(&chunk) {
            words[word] &= !bit;
            if words[word] == 0 && words.iter().all(|&word| word == 0) {
                self.chunks.remove(&chunk);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// All members below `bound`, downwards.
    pub(crate) fn below(&self, bound: u64) -> impl Iterator<Item = u64> + '_ {
        let last = bound.saturating_sub(1) / CHUNK;
        let hot = (self.newest <= last).then_some((&self.newest, &self.hot));
        hot.into_iter().chain(self.chunks.range(..=last).rev()).flat_map(move |(&chunk, words)| {
            (0..WORDS).rev().filter(|&word| words[word] != 0).flat_map(move |word| {
                let base = chunk * CHUNK + word as u64 * BITS;
                Bits(words[word]).map(move |bit| base + bit).skip_while(move |&sequence| sequence >= bound)
            })
        })
    }
}

/// The set bits of a word, from the top.
struct Bits(u64);

impl Iterator for Bits {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.0 == 0 {
            return None;
        }
        let bit = BITS - 1 - u64::from(self.0.leading_zeros());
        self.0 ^= 1 << bit;
        Some(bit)
    }
}

#[cfg(test)]
mod tests {
    use super::SeqSet;
    use std::collections::BTreeSet;

    #[test]
    fn it_walks_as_a_tree_does() {
        let (mut set, mut model) = (SeqSet::default(), BTreeSet::new());
        let mut x: u64 = 1;
        for step in 0..20_000_u64 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let sequence = 1 + (x >> 33) % 5_000;
            if step % 3 == 0 {
                set.remove(sequence);
                model.remove(&sequence);
            } else {
                set.insert(sequence);
                model.insert(sequence);
            }
            if step % 997 == 0 {
                for bound in [0, 1, 63, 64, 65, 1023, 1024, 1025, 2500, 5001, u64::MAX] {
                    let walked: Vec<u64> = set.below(bound).collect();
                    let expected: Vec<u64> = model.range(..bound).rev().copied().collect();
                    assert_eq!(walked, expected, "below {bound}");
                }
            }
        }
        for sequence in model {
            set.remove(sequence);
        }
        assert!(set.chunks.is_empty(), "chunks vanish when empty");
    }
}
