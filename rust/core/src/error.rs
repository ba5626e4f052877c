//! Everything that can be refused. The binding turns each variant into one Python class, in one place.

use std::fmt;

use crate::name::Text;
use crate::state::Kind;

/// Why an operation was refused. Whoever returns one has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No job of that id is stored.
    NotFound {
        /// The id asked for.
        id: Text,
    },
    /// The ids are stored already, or stand twice in one call.
    AlreadyExists {
        /// In the order of the call.
        ids: Vec<Text>,
    },
    /// The job changed since the caller's copy was read.
    ConcurrentModification {
        /// The job's id.
        id: Text,
        /// The version that the caller's copy shows.
        given: u64,
        /// The version that is stored.
        stored: u64,
    },
    /// The claim was taken over, cancelled, or settled otherwise.
    LockLost {
        /// The job's id.
        id: Text,
    },
    /// Another holds a live lock.
    Locked {
        /// The job's id.
        id: Text,
        /// Whether it is an explicit lock (else a claim).
        explicit: bool,
    },
    /// The store holds `max_jobs` jobs and may not or cannot make room.
    Capacity {
        /// The configured limit.
        max_jobs: usize,
    },
    /// The transition table does not hold this change.
    InvalidTransition {
        /// The kind of the present state.
        from: Kind,
        /// The kind asked for.
        to: Kind,
    },
    /// A field of a job holds what a job cannot carry.
    InvalidData {
        /// The field's name, with the path inside it where there is one.
        field: String,
        /// Goes behind the field's name.
        reason: String,
    },
    /// Too large, or too many keys.
    TooLarge {
        /// What is too large.
        field: &'static str,
        /// Its size.
        size: usize,
        /// What is allowed.
        limit: usize,
        /// "bytes" or "keys".
        unit: &'static str,
    },
    /// A stored record cannot be decoded.
    Corrupt {
        /// The job's id.
        id: Text,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// An [`Error::InvalidData`].
    pub fn data(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::InvalidData { field: field.into(), reason: reason.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { id } => write!(f, "no job {id:?} is stored"),
            Self::AlreadyExists { ids } => match ids.as_slice() {
                [id] => write!(f, "a job {id:?} is stored already"),
                [first, ..] => write!(f, "{} of the jobs are stored already, the first is {first:?}", ids.len()),
                [] => write!(f, "a job is stored already"),
            },
            Self::ConcurrentModification { id, given, stored } => write!(
                f,
                "job {id:?} changed since it was read: this copy shows version {given}, stored is version {stored}; \
                 read it again"
            ),
            Self::LockLost { id } => write!(
                f,
                "the claim on job {id:?} is lost: it was taken over after its lock lapsed, cancelled, or settled otherwise"
            ),
            Self::Locked { id, explicit: true } => write!(f, "job {id:?} is under another worker's explicit lock"),
            Self::Locked { id, explicit: false } => write!(f, "job {id:?} is under a live claim"),
            Self::Capacity { max_jobs } => write!(f, "the store is full: max_jobs is {max_jobs}"),
            Self::InvalidTransition { from, to } => {
                write!(f, "a job that is {} cannot become {}", from.name(), to.name())
            }
            Self::InvalidData { field, reason } => write!(f, "{field} {reason}"),
            Self::TooLarge { field, size, limit, unit } => {
                write!(f, "{field} of {size} {unit} is over the limit of {limit}")
            }
            Self::Corrupt { id, reason } => write!(f, "the stored record of job {id:?} cannot be decoded: {reason}"),
        }
    }
}

impl std::error::Error for Error {}
