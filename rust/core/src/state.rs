//! The states of a job and the one table of transitions between them.

use crate::name::{Name, Text};
use crate::time::Micros;

/// What a state is, without its fields. The numbers are used in stored records of other backends: they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Waiting for a claim.
    Enqueued = 0,
    /// Under a claim, live or lapsed.
    Processing = 1,
    /// Done.
    Succeeded = 2,
    /// Given up.
    Failed = 3,
    /// Softly deleted.
    Deleted = 4,
    /// Due at a time of the caller's.
    Scheduled = 5,
    /// Due again after an error.
    AwaitingRetry = 6,
}

impl Kind {
    /// All kinds, by number.
    pub const ALL: [Self; 7] = [
        Self::Enqueued,
        Self::Processing,
        Self::Succeeded,
        Self::Failed,
        Self::Deleted,
        Self::Scheduled,
        Self::AwaitingRetry,
    ];

    /// The value that filters, URLs and JSON spell.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Enqueued => "enqueued",
            Self::Processing => "processing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Deleted => "deleted",
            Self::Scheduled => "scheduled",
            Self::AwaitingRetry => "awaiting_retry",
        }
    }

    /// The tag in a job's JSON.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::Enqueued => "Enqueued",
            Self::Processing => "Processing",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Deleted => "Deleted",
            Self::Scheduled => "Scheduled",
            Self::AwaitingRetry => "AwaitingRetry",
        }
    }

    /// The kind of that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// No claim ever returns a job in a final state.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Deleted)
    }

    /// The transition table \[S4\]. `Job.set_state` asks it; the store does not.
    #[must_use]
    pub fn can_become(self, to: Self) -> bool {
        use Kind::{AwaitingRetry, Deleted, Enqueued, Failed, Processing, Scheduled, Succeeded};
        match self {
            Enqueued => matches!(to, Processing | Scheduled | Failed | Deleted),
            Processing => matches!(to, Succeeded | Failed | AwaitingRetry | Deleted),
            Scheduled => matches!(to, Enqueued | Scheduled | Deleted),
            AwaitingRetry => matches!(to, Enqueued | AwaitingRetry | Deleted),
            Failed => matches!(to, Enqueued | AwaitingRetry | Deleted),
            Succeeded => to == Deleted,
            Deleted => false,
        }
    }
}

/// The state of a job with its fields. The queue of an enqueued job is the job's own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of CONTRACT section 3")]
pub enum State {
    Enqueued { enqueued_at: Micros },
    Processing { started_at: Micros, worker_id: Name, server_name: Name },
    Succeeded { succeeded_at: Micros, total_duration: u64, result: Option<Text> },
    Failed { failed_at: Micros, exception: Text, stack_trace: Option<Text>, retry_count: u32 },
    Deleted { deleted_at: Micros, reason: Option<Text> },
    Scheduled { scheduled_at: Micros, enqueue_at: Micros, reason: Text },
    AwaitingRetry { scheduled_at: Micros, retry_at: Micros, retry_count: u32, last_exception: Text },
}

impl State {
    /// What it is, without its fields.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Enqueued { .. } => Kind::Enqueued,
            Self::Processing { .. } => Kind::Processing,
            Self::Succeeded { .. } => Kind::Succeeded,
            Self::Failed { .. } => Kind::Failed,
            Self::Deleted { .. } => Kind::Deleted,
            Self::Scheduled { .. } => Kind::Scheduled,
            Self::AwaitingRetry { .. } => Kind::AwaitingRetry,
        }
    }

    /// When a scheduled or retried job comes due; the other kinds get their due time from the store's clock.
    #[must_use]
    pub fn own_due(&self) -> Option<Micros> {
        match self {
            Self::Scheduled { enqueue_at, .. } => Some(*enqueue_at),
            Self::AwaitingRetry { retry_at, .. } => Some(*retry_at),
            _ => None,
        }
    }

    /// The retry count that a failed or retried state reports.
    #[must_use]
    pub fn own_retry_count(&self) -> Option<u32> {
        match self {
            Self::Failed { retry_count, .. } | Self::AwaitingRetry { retry_count, .. } => Some(*retry_count),
            _ => None,
        }
    }

    /// Who works on a job that is Processing.
    #[must_use]
    pub fn worker(&self) -> Option<&Name> {
        match self {
            Self::Processing { worker_id, .. } => Some(worker_id),
            _ => None,
        }
    }
}

/// The most that an exception, stack trace or reason keeps, in bytes of UTF-8, the marker included \[S3\].
pub const MAX_TEXT: usize = 64 * 1024;

/// What stands at the end of a text that was cut.
const CUT: &str = "… [cut]";

/// Cuts a text to [`MAX_TEXT`] at a character boundary; the end shows that something is missing.
#[must_use]
pub fn clip(text: &str) -> Text {
    if text.len() <= MAX_TEXT {
        return Text::from(text);
    }
    let mut end = MAX_TEXT - CUT.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Text::from([&text[..end], CUT].concat())
}

#[cfg(test)]
mod tests {
    use super::{CUT, Kind, MAX_TEXT, clip};

    #[test]
    fn the_table_is_the_contract_s() {
        let table = [
            ("enqueued", "processing scheduled failed deleted"),
            ("processing", "succeeded failed awaiting_retry deleted"),
            ("scheduled", "enqueued scheduled deleted"),
            ("awaiting_retry", "enqueued awaiting_retry deleted"),
            ("failed", "enqueued awaiting_retry deleted"),
            ("succeeded", "deleted"),
            ("deleted", ""),
        ];
        for (from, allowed) in table {
            let from = Kind::from_name(from).unwrap();
            for to in Kind::ALL {
                let listed = allowed.split(' ').any(|name| name == to.name());
                assert_eq!(from.can_become(to), listed, "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        assert_eq!(&*clip(&"a".repeat(MAX_TEXT)), "a".repeat(MAX_TEXT));
        for width in ["a", "é", "€", "😀"] {
            let cut = clip(&width.repeat(MAX_TEXT + 1));
            assert!(cut.len() <= MAX_TEXT && cut.len() > MAX_TEXT - 8);
            assert!(cut.ends_with(CUT) && cut.starts_with(width));
        }
    }
}
