-- As PostgreSQL says it.

-- name: now
-- The server's clock, since those of many machines differ.
select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) where cast(?1 as bigint) is not null;
