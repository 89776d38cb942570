-- An outbox in the layout that Debezium's outbox event router expects. What is in braces is filled in.

-- name: make
-- Debezium reads the first five columns, and `timestamp` where it is told to; in milliseconds since 1970.
create table if not exists {table} (
    id text primary key,
    aggregatetype text not null,
    aggregateid text not null,
    type text not null,
    payload text,
    "timestamp" integer not null default (cast((julianday('now') - 2440587.5) * 86400000 as integer))
);

-- name: columns
select name from pragma_table_info(?2) where ?1 is not null;

-- name: stage
-- The same message twice is one.
insert into {table} (id, aggregatetype, aggregateid, type, payload) values (?, ?, ?, ?, ?) on conflict do nothing;

-- name: next
select id, aggregatetype, aggregateid, type, payload, moment, tracing from (
    select id, aggregatetype, aggregateid, type, payload, moment, tracing, place,
    sum(size) over (order by place) - size as before
    from (
        select cast(id as text) as id, aggregatetype, aggregateid, type, payload, cast({moment} as text) as moment,
        {tracing} as tracing, row_number() over (order by {order}) as place, coalesce({size}, 0) as size
        from {table} order by {order} limit ?1
    ) as first_ones
) as measured
where before < ?2 order by place;

-- name: forget
delete from {table} where id = ?;

-- name: backlog
select count(*), cast(min({moment}) as text) from {table};

-- name: is_empty
select not exists (select 1 from {table});
