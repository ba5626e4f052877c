"""Columns of a job, as the native module hands them to the backends that are written in Python, and takes them back.

Instants are µs: whole microseconds since 1970. The numbers of the kinds are those of stored records: 0 enqueued,
1 processing, 2 succeeded, 3 failed, 4 deleted, 5 scheduled, 6 awaiting_retry.
"""

from __future__ import annotations

from typing import TypeAlias

Row: TypeAlias = tuple[
    str,  # 0 id
    str,  # 1 method
    str,  # 2 arguments: JSON text, opaque
    int,  # 3 created_at, µs
    str,  # 4 queue
    int,  # 5 priority
    int,  # 6 max_retries
    str | None,  # 7 job_type
    int | None,  # 8 timeout_seconds
    str | None,  # 9 metadata: JSON object text, None when empty
    int,  # 10 kind
    str,  # 11 state: compact JSON object of the variant's fields, instants in µs, without the queue of an enqueued one
    int | None,  # 12 due, µs: enqueue_at or retry_at; None for the other kinds
    str | None,  # 13 worker_id of a Processing state
    int,  # 14 retry_count: the state's for failed and awaiting_retry, else 0
    int,  # 15 version that the object shows
    int | None,  # 16 token of the claim that the object holds
]

Stored: TypeAlias = tuple[
    str,  # 0 id
    str,  # 1 method
    str,  # 2 arguments
    int,  # 3 created_at, µs
    str,  # 4 queue
    int,  # 5 priority
    int,  # 6 max_retries
    str | None,  # 7 job_type
    int | None,  # 8 timeout_seconds
    str | None,  # 9 metadata
    int,  # 10 kind
    str,  # 11 state
    int,  # 12 attempt
    int,  # 13 crash_count
    int,  # 14 retry_count
    int,  # 15 version
    int,  # 16 sequence
    int | None,  # 17 token, with a claim
    int | None,  # 18 lock expiry, µs, with a claim
]

NewRun: TypeAlias = tuple[
    list[int],  # 0 places of the jobs, each id once
    list[str],  # 1 ids that came again
    str,  # 2 a digit a job: its kind
    str,  # 3 queue of all, "" where they differ
    str,  # 4 score of all in it, "" where they differ
    list[bytes],  # 5 a record and a body a job
]

UpdateRun: TypeAlias = tuple[
    list[int],  # 0 places of the jobs
    bool,  # 1 whether a re-send needs the answer to be remembered
    int | None,  # 2 the earliest expiry of the claims, µs, if all end in one kind, succeeded or deleted
    bytes,  # 3 the letter: what the script goes by, 63 bytes a job
    bytes,  # 4 the sequences as runs, 7 bytes each; nothing where 2 is None
    bytes,  # 5 how all records are to begin, 14 bytes; nothing where they differ
    list[bytes],  # 6 what follows the 60th byte of each record
]

Claimed: TypeAlias = tuple[
    str,  # 0 id
    str,  # 1 method
    str,  # 2 arguments
    int,  # 3 created_at, µs
    str,  # 4 queue
    int,  # 5 priority
    int,  # 6 max_retries
    str | None,  # 7 job_type
    int | None,  # 8 timeout_seconds
    str | None,  # 9 metadata
    int,  # 10 attempt
    int,  # 11 crash_count
    int,  # 12 retry_count
    int,  # 13 version
    int,  # 14 sequence
    int,  # 15 token
    int,  # 16 when the claim was made, µs
    bool,  # 17 whether an earlier claim had lapsed
]

# Of these columns those that differ in every row are arrays as PostgreSQL spells them: '{1,2}', '{"a","b"}'.

EnqueueColumns: TypeAlias = tuple[
    str,  # 0 ids
    list[str],  # 1 method
    list[str],  # 2 arguments
    str,  # 3 created_at, µs
    list[str],  # 4 queue
    list[int],  # 5 priority
    list[int],  # 6 max_retries
    list[str | None],  # 7 job_type
    list[int | None],  # 8 timeout_seconds
    list[str | None],  # 9 metadata
    str,  # 10 enqueued_at, µs
]

SettleColumns: TypeAlias = tuple[
    str,  # 0 places
    str,  # 1 sequences
    str,  # 2 tokens
    str,  # 3 ids
    list[int],  # 4 kind
    list[str],  # 5 state
    list[int | None],  # 6 due
    list[int],  # 7 retry_count
    list[str],  # 8 queue
    list[int],  # 9 priority
    list[int],  # 10 max_retries
    list[str | None],  # 11 job_type
    list[int | None],  # 12 timeout_seconds
    list[str | None],  # 13 metadata
]
