-- Raises the tokens to the clock, at every connect: after a failover that forgot recent writes, they then start above
-- every token given out, for tokens are given out far more slowly than one a microsecond.
--
-- Keeps: never lowers: under a lock, and only where the clock is ahead by a second, which no burst of tokens makes up
--       between the reading and the setting. Not on a standby, which gives none out.
SELECT CASE WHEN pg_is_in_recovery() THEN NULL
            ELSE (SELECT CASE WHEN s.last_value + 1000000 < {clock}
                              THEN setval('{schema}.token_seq', {clock}) END
                    FROM (SELECT pg_advisory_xact_lock(hashtext('ferroq token'), hashtext('{schema}')) OFFSET 0) l
                   CROSS JOIN LATERAL (SELECT last_value FROM {schema}.token_seq OFFSET 0) s) END
