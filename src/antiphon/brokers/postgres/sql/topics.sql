-- What topics there are, and what their partitions hold.

-- name: log
select id from antiphon_log;

-- name: partitions_of
select t.name, p.number, p.id
from antiphon_log_topics t join antiphon_log_partitions p on p.topic_id = t.id
where t.name = any(cast(?1 as text[]))
order by t.name, p.number;

-- name: names
select name from antiphon_log_topics order by name;

-- name: make
-- Whoever makes a topic at the same time waits here, and then does nothing.
with made as (
    insert into antiphon_log_topics (name, keep_for, keep_bytes) values (?1, ?3, ?4)
    on conflict (name) do nothing returning id
), lanes as (
    insert into antiphon_log_partitions (topic_id, number)
    select made.id, number from made, generate_series(0, cast(?2 as bigint) - 1) as number order by number
    returning id
), heads as (
    insert into antiphon_log_heads (partition_id) select id from lanes
)
insert into antiphon_log_floors (partition_id) select id from lanes;

-- name: change_retention
update antiphon_log_topics set keep_for = ?2, keep_bytes = ?3 where name = ?1;

-- name: states
select t.name, count(*), sum(h.head - f.floor), sum(h.added - f.removed), t.keep_for, t.keep_bytes
from antiphon_log_topics t
join antiphon_log_partitions p on p.topic_id = t.id
join antiphon_log_heads h on h.partition_id = p.id
join antiphon_log_floors f on f.partition_id = p.id
group by t.id
order by t.name;

-- name: topics_of
select distinct t.name
from antiphon_log_partitions p join antiphon_log_topics t on t.id = p.topic_id
where p.id = any(cast(?1 as bigint[]));
