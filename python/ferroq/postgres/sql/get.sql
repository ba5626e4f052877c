-- One record. In: $1 id.
SELECT v.*, NULL::bigint AS token, NULL::bigint AS expires_at FROM {schema}.record v WHERE v.id = $1
