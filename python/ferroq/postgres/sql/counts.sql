-- Jobs by kind, of one snapshot. Out: kind, count; kinds without jobs may be missing.
SELECT 0 AS kind,
       (SELECT count(*) FROM {schema}.ready) - (SELECT count(*) FROM {schema}.ready WHERE kind <> 0) AS count
UNION ALL SELECT 1, count(*) FROM {schema}.lease
UNION ALL SELECT kind, sum(count)::bigint
            FROM (SELECT kind, count(*) AS count FROM {schema}.future GROUP BY kind
                  UNION ALL
                  SELECT kind, count(*) FROM {schema}.ready WHERE kind IN (5, 6) AND kind <> 0 GROUP BY kind) f
           GROUP BY kind
UNION ALL SELECT kind, count(*) FROM {schema}.done GROUP BY kind
