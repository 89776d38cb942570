-- As PostgreSQL says it.

-- name: is_kept
-- Whether there is a slot for what is staged here. One that is only about to be made keeps nothing yet, and one that fell
-- behind too far nothing any more.
select exists (
    select 1 from pg_replication_slots
    where slot_name = 'antiphon_outbox_' || left(md5(current_database() || '.' || current_schema()), 16)
    and confirmed_flush_lsn is not null and wal_status is distinct from 'lost'
);
