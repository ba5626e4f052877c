-- The migrations that were applied. Out: version, checksum.
SELECT version, checksum FROM {schema}.migration ORDER BY version
