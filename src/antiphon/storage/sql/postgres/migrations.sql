-- As PostgreSQL says it.

-- name: has_table
select 1 where to_regclass('antiphon_migrations') is not null;

-- name: make_table
create table if not exists antiphon_migrations (
    component text collate "C" not null,
    version bigint not null,
    name text not null,
    checksum text not null,
    applied_at text not null,
    primary key (component, version)
);

-- name: record
-- Never in the way of another one: who migrates has his turn. But an isolation that does not see what others applied
-- before that, and would apply it again, is refused here as a conflict.
insert into antiphon_migrations (component, version, name, checksum, applied_at) values (?, ?, ?, ?, ?)
on conflict do nothing;

-- name: take_turn
-- Nobody else makes tables in the schema, the connection's own without a name, until the transaction ends: neither a
-- service at its start nor an application, whether there are any tables yet or not.
select 1 from pg_advisory_xact_lock(hashtext('antiphon migrations'), hashtext(coalesce(?, current_schema(), '')));

-- name: begin
-- Every driver begins a transaction for whatever it is.
select 1;
