-- Messages in and out. A partition's ends come from its rows, never from a search.

-- name: lock_heads
select 1 from antiphon_log_heads where partition_id = any(cast(?1 as bigint[])) order by partition_id for update;

-- name: move_heads
update antiphon_log_heads h
set head = h.head + m.count, added = h.added + m.added, largest = greatest(h.largest, m.largest),
    -- Arrival never goes back within a partition, whatever the clock does: it is searched by halving.
    arrived = greatest(h.arrived, cast(extract(epoch from clock_timestamp()) * 1000000 as bigint))
from unnest(cast(?1 as bigint[]), cast(?2 as bigint[]), cast(?3 as bigint[]), cast(?4 as bigint[]))
    as m (id, count, added, largest)
where h.partition_id = m.id;

-- name: append
-- Data and rests of all messages travel as one value. In another log than the one that was opened nothing has a place.
insert into antiphon_log_messages (place, id, type, key, arrived, data, rest)
select
    case when (select true from antiphon_log where id = ?1) then (h.partition_id << 40) | (h.head - m.behind) end,
    m.id, m.type, m.key, h.arrived,
    case when m.size >= 0 then substring(cast(?10 as bytea) from m.start for m.size) end,
    substring(cast(?10 as bytea) from m.start + greatest(m.size, 0) for m.rest)
from unnest(
    cast(?2 as bigint[]), cast(?3 as bigint[]), cast(?4 as text[]), cast(?5 as text[]), cast(?6 as text[]),
    cast(?7 as int[]), cast(?8 as int[]), cast(?9 as int[])
) as m (lane, behind, id, type, key, start, size, rest)
left join antiphon_log_heads h on h.partition_id = m.lane;

-- name: read
select m.place, m.id, m.type, m.key, m.data, m.rest
from unnest(cast(?1 as bigint[]), cast(?2 as bigint[])) as s (after, wanted),
lateral (
    select place, id, type, key, data, rest from antiphon_log_messages
    where place > s.after and place <= s.after + s.wanted order by place limit s.wanted
) as m;

-- name: read_within
-- As above, of together at most so many bytes, but the first one in any case.
select place, id, type, key, data, rest from (
    select m.*, sum(octet_length(m.data)) over before as up_to, row_number() over before as nth
    from unnest(cast(?1 as bigint[]), cast(?2 as bigint[])) with ordinality as s (after, wanted, turn),
    lateral (
        select place, id, type, key, data, rest from antiphon_log_messages
        where place > s.after and place <= s.after + s.wanted order by place limit s.wanted
    ) as m
    window before as (order by s.turn, m.place)
) as measured
where nth = 1 or coalesce(up_to, 0) <= ?3;

-- name: browse
select m.arrived, m.place, m.id, m.type, m.key, m.data, m.rest
from unnest(cast(?1 as bigint[])) as s (after),
lateral (
    select place, arrived, id, type, key, data, rest from antiphon_log_messages
    where place > s.after and place <= (s.after >> 40 << 40) + 1099511627775 order by place limit ?2
) as m
order by m.arrived, m.place
limit ?2;

-- name: first_since
-- The offset of the first message of each partition that arrived then or later; one beyond its end when there is none.
with recursive halves (partition_id, low, high) as (
    select h.partition_id, f.floor + 1, h.head + 1
    from antiphon_log_topics t
    join antiphon_log_partitions p on p.topic_id = t.id
    join antiphon_log_heads h on h.partition_id = p.id
    join antiphon_log_floors f on f.partition_id = p.id
    where t.name = ?1
    union all
    select partition_id, case when is_before then middle + 1 else low end, case when is_before then high else middle end
    from (
        select partition_id, low, high, (low + high) / 2 as middle, coalesce((
            select arrived from antiphon_log_messages where place = (partition_id << 40) | ((low + high) / 2)
        ), -1) < ?2 as is_before
        from halves where low < high
    ) as halved
)
select partition_id, low from halves where low = high;

-- name: take_duty
-- One process of all on a log deletes at a time.
select pg_try_advisory_xact_lock(hashtext('antiphon log retention'), hashtext(current_schema()));

-- name: wait_for_duty
select pg_advisory_xact_lock(hashtext('antiphon log retention'), hashtext(current_schema()));

-- name: has_limits
select 1 from antiphon_log_topics where keep_for is not null or keep_bytes is not null limit 1;

-- name: beyond_age
-- Of each partition up to which offset everything is too old, a bounded number of them.
with recursive halves (partition_id, floor, low, high, since) as (
    select h.partition_id, f.floor, f.floor + 1, least(h.head, f.floor + ?1) + 1,
        cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) - t.keep_for
    from antiphon_log_topics t
    join antiphon_log_partitions p on p.topic_id = t.id
    join antiphon_log_heads h on h.partition_id = p.id
    join antiphon_log_floors f on f.partition_id = p.id
    where t.keep_for is not null and h.head > f.floor and (
        select arrived from antiphon_log_messages where place = (h.partition_id << 40) | (f.floor + 1)
    ) < cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) - t.keep_for
    union all
    select partition_id, floor, case when is_before then middle + 1 else low end,
        case when is_before then high else middle end, since
    from (
        select partition_id, floor, low, high, since, (low + high) / 2 as middle, coalesce((
            select arrived from antiphon_log_messages where place = (partition_id << 40) | ((low + high) / 2)
        ), -1) < since as is_before
        from halves where low < high
    ) as halved
)
select partition_id, floor, low - 1 from halves where low = high and low - 1 > floor;

-- name: beyond_size
-- The oldest messages of each topic that holds too much, as far as they have to go, a bounded number of them: of each
-- partition up to which offset.
select partition_id, floor, max(offset_in) from (
    select p.partition_id, p.floor, m.place & 1099511627775 as offset_in, t.excess,
        coalesce(sum(m.size) over oldest, 0) - m.size as before
    from (
        select t.id, sum(h.added - f.removed) - t.keep_bytes as excess
        from antiphon_log_topics t
        join antiphon_log_partitions p on p.topic_id = t.id
        join antiphon_log_heads h on h.partition_id = p.id
        join antiphon_log_floors f on f.partition_id = p.id
        where t.keep_bytes is not null
        group by t.id
        having sum(h.added - f.removed) > t.keep_bytes
    ) as t
    join lateral (
        select p.id as partition_id, f.floor
        from antiphon_log_partitions p join antiphon_log_floors f on f.partition_id = p.id where p.topic_id = t.id
    ) as p on true
    join lateral (
        select place, arrived, coalesce(octet_length(data), 0) as size from antiphon_log_messages
        where place > (p.partition_id << 40) | p.floor and place <= ((p.partition_id << 40) | p.floor) + ?1
        order by place limit ?1
    ) as m on true
    window oldest as (partition by t.id order by m.arrived, m.place)
) as aged
where before < excess
group by partition_id, floor;

-- name: delete
with gone as (
    delete from antiphon_log_messages
    where place > ((cast(?1 as bigint) << 40) | ?2) and place <= ((cast(?1 as bigint) << 40) | ?3)
    returning coalesce(octet_length(data), 0) as size
)
update antiphon_log_floors
set floor = ?3, removed = removed + (select coalesce(sum(size), 0) from gone)
where partition_id = ?1;
