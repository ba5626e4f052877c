"""Every key that the backend uses, and why the store is laid out so.

All keys begin with `{prefix}:`. The braces are Redis's hash tag: the whole store lies in one slot, so that each
operation is one script on a cluster too, and prefixes such as `app` and `app:x` cannot meet.

===================  ======  ==================================================================================
key                  type    holds
===================  ======  ==================================================================================
``meta``             hash    ``seq`` and ``token`` last given out, ``c0``..``c6`` jobs by kind, ``big`` the largest body
                             ever, ``clock`` (tests only)
``job``              hash    sequence -> what changes: the record of lua/lib/record.lua
``body``             hash    id -> six bytes of sequence, and what never changes: created_at, method, arguments
``q:<queue>``        zset    ready jobs of a queue: score -priority, member due time (7 bytes) and sequence (6)
``queues``           zset    the queues whose ready set is not empty
``timers``           zset    sequences, or runs of them, at their job's due time or their lock's expiry
``locks``            hash    id -> explicit lock: expiry, sequence of the job if stored, worker
``ends``             zset    the same ids at their lock's expiry
``k:<chunk>``        string  a digit for each of 256 sequences: the kind of its job, a zero byte where there is none
``d<kind>``          zset    the chunks with at least one job of the kind
``f<kind>``          zset    finished jobs of a final kind, or runs of them, by the time they became it
``r:<client>:<n>``   string  the last answer that a re-send would need; expires by itself
===================  ======  ==================================================================================

and one shard channel, ``wake``: the name of a queue is published when a job enters its ready set.

Why this and not the obvious one (benches/redis/results/layouts.txt has three layouts): a hash a job costs 1.3
to 1.5 times the server's time and twice its memory; a sorted set a kind for the order of `list` costs an eighth more
time and 80 to 110 bytes a job, where a digit in the order of the sequence, which is that order, costs a byte. (A bitmap
a kind costs a bit, and twice the commands: a change of kind is one digit and two bits.) The sequence names a job inside
the indexes, six bytes instead of an id of 36. What never changes is apart from what does, so that
settling a job neither reads nor copies its arguments, and it hangs on the id, so that finding a job by its id and
keeping its body is one entry.

Claim order [Q24] is exact: a double cannot hold a priority and an instant in microseconds, so the score is the
priority alone, and the member begins with the instant, big-endian: equal scores are ordered by member, byte for byte.

A run is jobs whose sequences follow each other in a chunk, as one member of seven bytes: the first sequence, and a byte
that counts the others. Jobs that were enqueued together are mostly claimed and settled together, and cost the two
sorted sets a member a batch and not one each. In the order of finish a run names exactly its jobs: a record says when
its job finished, and so where its run stands, from which a job that leaves is cut out. Among the timers a run, which
the short way of a claim and a renewal make, is taken out when its jobs leave together; what leaves it otherwise it goes
on naming until its time comes or nothing is claimed any more. It speaks for those of its jobs that are claimed until
its very time: whoever reads it asks the marks and the records. A timer of a single job is always exact.

A job waits in one place only: in the ready set of its queue, or in ``timers`` until it comes due or its lock lapses,
or, while an explicit lock is held on its id when that happens, in neither: the end of the lock finds it by the
sequence kept there. A claim first takes over what came due or lapsed, in one order of times, at most max(100, limit)
[Q26].
"""

from __future__ import annotations

import re

PREFIX_PATTERN = r"[A-Za-z0-9_.:-]{1,64}"

FIXED = ("meta", "job", "body", "timers", "locks", "queues", "ends")
"""The keys that every script is given, in the order in which lua/lib/base.lua takes them."""


class Keys:
    """The names of one store."""

    __slots__ = ("base", "channel", "fixed", "meta")

    def __init__(self, prefix: str) -> None:
        if not re.fullmatch(PREFIX_PATTERN, prefix):
            raise ValueError(f"not a key prefix: {prefix!r}")
        self.base = f"{{{prefix}}}:"
        self.fixed = tuple(f"{self.base}{name}".encode() for name in FIXED)
        self.meta = self.fixed[0]
        self.channel = f"{self.base}wake".encode()
