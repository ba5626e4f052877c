//! A job as callers hold it.

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::error::Error;
use crate::name::{Name, Text};
use crate::state::State;
use crate::time::Micros;

/// A fencing token: of two claims of one id the later has the larger one \[L2\].
pub type Token = NonZeroU64;

/// The most keys that metadata may have \[J14\].
pub const MAX_METADATA_KEYS: usize = 256;

/// What never changes after construction: id, method, arguments and the time of creation.
///
/// The three texts lie in one allocation, shared by the caller's object and the stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    text: Arc<str>,
    created_at: Micros,
    method_from: u8,
    arguments_from: u16,
}

impl Body {
    /// Joins the parts. `id` and `method` must be checked names and `arguments` JSON text of an array.
    ///
    /// # Errors
    /// `Error::InvalidData` where a name is longer than names are.
    pub fn new(id: &str, method: &str, arguments: &str, created_at: Micros) -> Result<Self, Error> {
        Self::joined(&[id, method, arguments].concat(), id.len(), method.len(), created_at)
    }

    /// Takes the three texts already joined, with the lengths of the first two: one allocation for a job.
    ///
    /// # Errors
    /// As [`Body::new`].
    pub fn joined(text: &str, id_len: usize, method_len: usize, created_at: Micros) -> Result<Self, Error> {
        let too_long = |field: &str| Error::data(field, "must be at most 255 bytes of UTF-8");
        let method_from = u8::try_from(id_len).map_err(|_| too_long("id"))?;
        let method_len = u8::try_from(method_len).map_err(|_| too_long("method"))?;
        let arguments_from = u16::from(method_from) + u16::from(method_len);
        Ok(Self { text: text.into(), created_at, method_from, arguments_from })
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.text[..usize::from(self.method_from)]
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.text[usize::from(self.method_from)..usize::from(self.arguments_from)]
    }

    /// The arguments as JSON text.
    #[must_use]
    pub fn arguments(&self) -> &str {
        &self.text[usize::from(self.arguments_from)..]
    }

    /// When the job was constructed, by the clock of whoever constructed it.
    #[must_use]
    pub fn created_at(&self) -> Micros {
        self.created_at
    }

    /// Bytes of all three texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Never true: an id is at least one byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

/// The fields that most jobs leave out, behind one pointer so that those jobs do not pay for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// A category of the user's.
    pub job_type: Option<Name>,
    /// How long a worker should let the job run.
    pub timeout_seconds: Option<u32>,
    /// A JSON object of strings, None when empty.
    pub metadata: Option<Text>,
}

/// A claim as its holder sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimLock {
    /// The fencing token.
    pub token: Token,
    /// When it lapses, unless renewed.
    pub expires_at: Micros,
    /// Who claimed.
    pub worker_id: Name,
}

/// A job: what its caller may set, and what the store counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What never changes.
    pub body: Body,
    /// The queue.
    pub queue: Name,
    /// The state.
    pub state: State,
    /// Job type, time-out and metadata, where any is set.
    pub extras: Option<Arc<Extras>>,
    /// Higher is claimed first.
    pub priority: i32,
    /// The budget for errors that a worker reports.
    pub max_retries: u32,
    /// Claims taken, less those given back unspent.
    pub attempt: u32,
    /// Claims that ended by lapse.
    pub crash_count: u32,
    /// Of the last failed or retried state.
    pub retry_count: u32,
    /// 0 before it is stored, then + 1 with every accepted write.
    pub version: u64,
    /// The store's insertion sequence, 0 before it is stored.
    pub sequence: u64,
}

impl Job {
    /// The job type.
    #[must_use]
    pub fn job_type(&self) -> Option<&Name> {
        self.extras.as_ref()?.job_type.as_ref()
    }

    /// The time-out, in seconds.
    #[must_use]
    pub fn timeout_seconds(&self) -> Option<u32> {
        self.extras.as_ref()?.timeout_seconds
    }

    /// The metadata as JSON text; None when there is none.
    #[must_use]
    pub fn metadata(&self) -> Option<&Text> {
        self.extras.as_ref()?.metadata.as_ref()
    }

    /// Changes the extras; they vanish when nothing is set.
    pub fn edit_extras(&mut self, edit: impl FnOnce(&mut Extras)) {
        let mut extras = self.extras.as_deref().cloned().unwrap_or_default();
        edit(&mut extras);
        self.extras = (extras != Extras::default()).then(|| Arc::new(extras));
    }

    /// Bytes of text that the job carries: id, method, arguments and metadata.
    #[must_use]
    pub fn text_len(&self) -> usize {
        self.body.len() + self.metadata().map_or(0, |text| text.len())
    }

    /// Refuses a job whose arguments with metadata, or whose result, are too large \[J14\].
    ///
    /// # Errors
    /// `Error::TooLarge`.
    pub fn check_size(&self, limit: usize) -> Result<(), Error> {
        let too_large = |field, size| Err(Error::TooLarge { field, size, limit, unit: "bytes" });
        let size = self.body.arguments().len() + self.metadata().map_or(0, |text| text.len());
        if size > limit {
            return too_large("arguments and metadata", size);
        }
        if let State::Succeeded { result: Some(result), .. } = &self.state
            && result.len() > limit
        {
            return too_large("result", result.len());
        }
        Ok(())
    }
}
