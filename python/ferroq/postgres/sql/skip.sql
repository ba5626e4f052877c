-- How far a page of list.sql would reach, without reading records: the way of an offset.
--
-- In:   as list.sql.
-- Out:  skipped, last (the lowest seq that was skipped, or null).
SELECT count(*) AS skipped, min(w.seq) AS last FROM (SELECT * FROM ({walk}) y LIMIT $2::int) w
