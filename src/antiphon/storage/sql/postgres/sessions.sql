-- As PostgreSQL says it.

-- name: begin_writing
-- Nobody waits for writers of other rows.
select 1;

-- name: identity
-- The server's run, the database, and the table that the search path finds.
select concat(extract(epoch from pg_postmaster_start_time()), '/', current_database(), '/', to_regclass('antiphon_inbox')::oid)
where to_regclass('antiphon_inbox') is not null;
