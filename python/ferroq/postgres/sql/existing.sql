-- Which ids are stored. In: $1 ids.
SELECT id FROM {schema}.job WHERE id = ANY ($1::text[])
