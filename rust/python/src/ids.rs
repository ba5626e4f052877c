//! Fresh ids: UUIDs of version 7, in the order of time \[J1\].

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use ferroq_core::Micros;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use uuid::Builder;

use crate::{fork, time};

/// A generator of this thread, seeded by the operating system, and the fork epoch in which it was.
///
/// Asking the system for every id costs more than the rest of a job's construction. A generator must not survive a fork,
/// or parent and child would make the same ids.
struct Source {
    random: Xoshiro256PlusPlus,
    epoch: u64,
}

impl Source {
    fn fresh() -> Self {
        let mut seed = [0; 32];
        if getrandom::fill(&mut seed).is_err() {
            // No source of entropy: the clock and the process are all there is.
            let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
            seed[..16].copy_from_slice(&nanos.to_le_bytes());
            seed[16..20].copy_from_slice(&std::process::id().to_le_bytes());
        }
        Self { random: Xoshiro256PlusPlus::from_seed(seed), epoch: fork::epoch() }
    }
}

thread_local! {
    static SOURCE: RefCell<Source> = RefCell::new(Source::fresh());
}

/// Random bits that no other process or thread has.
pub(crate) fn random() -> u64 {
    SOURCE.with_borrow_mut(|source| {
        if source.epoch != fork::epoch() {
            *source = Source::fresh();
        }
        source.random.next_u64()
    })
}

/// The moment, and a fresh id of it. The twelve bits behind the milliseconds count parts of one (RFC 9562, method 3), so
/// ids that one process makes more than a quarter of a microsecond apart sort by time.
pub(crate) fn fresh(buffer: &mut [u8; 36]) -> (&str, Micros) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = since.as_secs().saturating_mul(1_000).saturating_add(since.subsec_millis().into());
    let nanos = u64::from(since.subsec_nanos() % 1_000_000);
    let mut tail = [0; 10];
    // 0 to 4095: the fraction of the millisecond.
    let fraction = u16::try_from((nanos << 12) / 1_000_000).unwrap_or_default();
    tail[..2].copy_from_slice(&fraction.to_be_bytes());
    tail[2..].copy_from_slice(&random().to_be_bytes());
    let id = Builder::from_unix_timestamp_millis(millis, &tail).into_uuid();
    (id.hyphenated().encode_lower(buffer), time::micros(since))
}
