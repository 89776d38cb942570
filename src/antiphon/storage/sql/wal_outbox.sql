-- An outbox in the log of a PostgreSQL server, read from a logical slot. There is nothing like it on SQLite.

-- name: place
-- The level of the log, and what our messages and our slot are called, which is another name for each schema.
select current_setting('wal_level'),
'antiphon_outbox_' || left(md5(current_database() || '.' || current_schema()), 16);

-- name: has_publication
select 1 from pg_publication where pubname = 'antiphon_outbox';

-- name: make_publication
-- Of no table: only messages are read.
create publication antiphon_outbox;

-- name: has_slot
-- Whether it is made: until then it has no place to read from.
select 1 from pg_replication_slots where slot_name = ? and confirmed_flush_lsn is not null;

-- name: is_begun
-- Whether it is made, or somebody is about to make it.
select 1 from pg_replication_slots where slot_name = ?;

-- name: make_slot
select 1 from pg_create_logical_replication_slot(?, 'pgoutput');

-- name: stage
select pg_logical_emit_message(
    true, 'antiphon_outbox_' || left(md5(current_database() || '.' || current_schema()), 16), cast(? as text)
);

-- name: is_kept
-- No row, where there is no such log.
select 1 where false;

-- name: places
-- The end of the log, and how far relays have given it up.
select cast(pg_current_wal_flush_lsn() - '0/0' as bigint), coalesce((
    select cast(confirmed_flush_lsn - '0/0' as bigint) from pg_replication_slots where slot_name = ?
), 0);

-- name: peek
select data from pg_logical_slot_peek_binary_changes(
    ?1, null, ?2, 'proto_version', '1', 'publication_names', 'antiphon_outbox', 'messages', 'true'
);

-- name: advance
select 1 from pg_replication_slot_advance(?1, cast(?2 as pg_lsn));
