//! The self-audit: every index against the records that it is about \[Q18\].

use std::collections::HashMap;

use super::{Engine, FINAL, Place, Record, final_at};
use crate::slots::Slot;
use crate::state::Kind;
use crate::time_queue::TimeQueue;

impl Engine {
    /// One sentence a finding; nothing when all is well. It reads everything and is meant for tests and for doubt.
    #[must_use]
    pub fn verify(&self) -> Vec<String> {
        let mut findings = Vec::new();
        self.audit_records(&mut findings);
        self.audit_lists(&mut findings);
        self.audit_orders(&mut findings);
        self.audit_queues(&mut findings);
        if !self.locks.is_sound() {
            findings.push("the lock table and its order of expiry differ".to_owned());
        }
        findings
    }

    fn audit_records(&self, findings: &mut Vec<String>) {
        let mut records = 0;
        for (slot, record) in self.slots.iter() {
            records += 1;
            let id = record.job.body.id();
            let mut say = |what: &str| findings.push(format!("job {id:?}: {what}"));
            if self.find(id) != Some(slot) {
                say("its id leads elsewhere");
            }
            if self.find_sequence(record.job.sequence) != Some(slot) {
                say("its sequence leads elsewhere");
            }
            if record.job.version == 0 || record.job.sequence == 0 || record.job.sequence > self.last_sequence {
                say("its version or sequence is impossible");
            }
            if record.claim.is_some() != (record.kind() == Kind::Processing) {
                say("its claim lock does not fit its state");
            }
            if !self.is_placed(record) {
                say(&format!("its place {:?} does not fit its state {}", record.place, record.kind().name()));
            }
            if !self.slots.stamps.is_current(slot, record.stamp) {
                say("its stamp is stale");
            }
        }
        if records != self.by_id.len() || records != self.by_sequence.len() {
            findings.push(format!(
                "{records} records, but {} ids and {} sequences",
                self.by_id.len(),
                self.by_sequence.len()
            ));
        }
    }

    fn is_placed(&self, record: &Record) -> bool {
        let id = record.job.body.id();
        let free = self.locks.holder(id, self.now).is_none();
        let doomed = record.claim.is_some() && record.job.crash_count + 1 >= self.options.max_crashes;
        let may_wait = matches!(record.kind(), Kind::Enqueued | Kind::Processing) || record.due <= self.now;
        match record.place {
            Place::Ready => free && !doomed && !record.kind().is_final() && may_wait,
            Place::Doomed => free && doomed,
            Place::Parked => !record.kind().is_final() && may_wait,
            Place::Due => matches!(record.kind(), Kind::Scheduled | Kind::AwaitingRetry),
            Place::Lapse => record.kind() == Kind::Processing,
            Place::Finished => record.kind().is_final(),
        }
    }

    fn audit_lists(&self, findings: &mut Vec<String>) {
        let mut counts = [0_u64; 7];
        for (_, record) in self.slots.iter() {
            counts[record.kind() as usize] += 1;
        }
        for kind in Kind::ALL {
            let listed = self.by_kind[kind as usize].below(u64::MAX).filter(|&sequence| {
                self.find_sequence(sequence)
                    .and_then(|slot| self.slots.get(slot))
                    .is_some_and(|record| record.kind() == kind)
            });
            let (count, walked) = (self.counts[kind as usize], self.by_kind[kind as usize].below(u64::MAX).count());
            let listed = listed.count();
            let records = counts[kind as usize];
            if count != records || walked as u64 != records || listed as u64 != records {
                findings.push(format!(
                    "{records} jobs are {}, but the count says {count} and the list holds {walked}, {listed} of them rightly",
                    kind.name()
                ));
            }
        }
        let all = self.all.below(u64::MAX).filter(|&sequence| self.find_sequence(sequence).is_some()).count();
        if all != self.by_id.len() || self.all.below(u64::MAX).count() != all {
            findings.push(format!("{} jobs, but the list of all holds {all}", self.by_id.len()));
        }
    }

    /// Each ordered index holds exactly the records that lie in its place, in order.
    fn audit_orders(&self, findings: &mut Vec<String>) {
        let mut expected: HashMap<(Place, usize), usize> = HashMap::new();
        for (_, record) in self.slots.iter() {
            let at = if record.place == Place::Finished { final_at(record.kind()).unwrap_or(0) } else { 0 };
            *expected.entry((record.place, at)).or_default() += 1;
        }
        let mut check = |name: &str, queue: &TimeQueue, of: Place, at: usize| {
            let stamps = &self.slots.stamps;
            let entries: Vec<_> = queue.iter(None, stamps).collect();
            let rightly = entries.iter().filter(|entry| self.entry_fits(entry.slot, entry.sequence, of)).count();
            let wanted = expected.get(&(of, at)).copied().unwrap_or(0);
            let sorted = entries.is_sorted_by_key(super::Entry::key);
            if entries.len() != wanted || rightly != wanted || queue.len() != wanted || !sorted {
                findings.push(format!(
                    "the {name} order holds {} jobs ({} counted, {rightly} rightly, sorted: {sorted}) where {wanted} belong",
                    entries.len(),
                    queue.len()
                ));
            }
        };
        check("due", &self.due, Place::Due, 0);
        check("lapse", &self.lapse, Place::Lapse, 0);
        check("parked", &self.parked, Place::Parked, 0);
        check("crashed", &self.doomed, Place::Doomed, 0);
        for (at, kind) in FINAL.into_iter().enumerate() {
            check(kind.name(), &self.finished[at], Place::Finished, at);
        }
        let ready: Vec<_> = self.ready.iter(None, &self.slots.stamps).collect();
        let wanted = expected.get(&(Place::Ready, 0)).copied().unwrap_or(0);
        let rightly = ready.iter().filter(|&&(rank, slot)| {
            self.entry_fits(slot, rank.2, Place::Ready)
                && self.slots.get(slot).is_some_and(|record| record.job.priority == rank.0.0 && record.due == rank.1)
        });
        let rightly = rightly.count();
        if ready.len() != wanted || rightly != wanted || !ready.is_sorted() {
            findings.push(format!("claim order holds {} jobs, {rightly} rightly, where {wanted} belong", ready.len()));
        }
    }

    fn entry_fits(&self, slot: Slot, sequence: u64, place: Place) -> bool {
        self.slots.get(slot).is_some_and(|record| record.place == place && record.job.sequence == sequence)
    }

    fn audit_queues(&self, findings: &mut Vec<String>) {
        let mut records: HashMap<u32, (usize, usize)> = HashMap::new();
        for (_, record) in self.slots.iter() {
            let (all, ready) = records.entry(record.queue).or_default();
            *all += 1;
            *ready += usize::from(record.place == Place::Ready);
            if self.ready.name(record.queue) != Some(&record.job.queue) {
                findings.push(format!("job {:?}: its queue's name differs", record.job.body.id()));
            }
        }
        let (mut busy, mut total) = (0, 0);
        for (id, name, held, ready, levels) in self.ready.sizes() {
            busy += usize::from(ready > 0);
            total += ready;
            if records.remove(&id) != Some((held, ready)) || ready != levels {
                findings.push(format!("queue {name:?} counts {held} records and {ready} ready jobs wrongly"));
            }
        }
        if !records.is_empty() || busy != self.ready.busy_len() || total != self.ready.total() {
            findings.push("the directory of queues does not fit the records".to_owned());
        }
    }
}
