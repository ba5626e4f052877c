//! The ferroq engine: what a job is, what states it passes through, and a store of jobs with its indexes and lock table.
//!
//! Nothing here knows Python, reads a clock, draws a random number or does I/O: the current time and fresh ids are
//! arguments, so every behaviour can be replayed. The contract that this crate keeps is written in the docstrings of
//! `ferroq.Storage`; the ids in brackets, like \[Q24\], name its promises.
//!
//! - [`Job`] and [`State`] are the values that callers hold, cheap to clone: their texts are shared.
//! - [`Engine`] owns the stored records and every index over them; all of its operations are logarithmic or better in the
//!   number of jobs, and none reads, sorts or copies a backlog.

mod engine;
mod error;
mod job;
mod job_json;
mod json;
mod locks;
mod name;
mod ready;
mod seq_set;
mod slots;
mod state;
mod state_json;
mod time;
mod time_queue;

pub use engine::{Accepted, CLAIM_BYTES, Claimed, Cursor, Engine, Keep, Options, Page, Released, TAKEOVER};
pub use error::Error;
pub use job::{Body, ClaimLock, Extras, Job, MAX_METADATA_KEYS, Token};
pub use job_json::{from_json, to_json};
pub use json::{MAX_DEPTH, Writer, canonical, canonical_text_map};
pub use name::{MAX_NAME, Name, Text, check_name};
pub use state::{Kind, MAX_TEXT, State, clip};
pub use state_json::{state_from_compact, state_to_compact};
pub use time::{MAX_TIME, Micros, check_time, format_time, parse_time};
