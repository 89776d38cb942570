-- What was applied to which component's tables; the table is made before any migration runs.

-- name: has_table
select 1 from sqlite_schema where type = 'table' and name = 'antiphon_migrations';

-- name: make_table
create table if not exists antiphon_migrations (
    component text not null,
    version integer not null,
    name text not null,
    checksum text not null,
    applied_at text not null,
    primary key (component, version)
) without rowid;

-- name: applied
select version, name, checksum from antiphon_migrations where component = ? order by version;

-- name: record
insert into antiphon_migrations (component, version, name, checksum, applied_at) values (?, ?, ?, ?, ?);

-- name: take_turn
-- Nothing to do: there is one writer at a time.
select 1 where ?1 is null;

-- name: begin
-- Changes nothing. Some drivers begin no transaction for the making of tables, but all do for a change of rows.
delete from antiphon_migrations where version < 0;
