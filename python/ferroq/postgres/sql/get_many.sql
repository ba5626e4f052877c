-- Records by id. In: $1 ids.
SELECT v.* FROM {schema}.record v WHERE v.id = ANY ($1::text[])
