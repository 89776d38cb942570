-- As PostgreSQL says it.

-- name: is_kept
-- Whether there is a slot for what is staged here. One that fell behind too far keeps nothing any more.
select exists (
    select 1 from pg_replication_slots
    where slot_name = 'antiphon_outbox_' || left(md5(current_database() || '.' || current_schema()), 16)
    and wal_status is distinct from 'lost'
);
