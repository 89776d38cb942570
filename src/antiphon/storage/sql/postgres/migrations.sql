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

-- name: lock
lock table antiphon_migrations in share row exclusive mode;
