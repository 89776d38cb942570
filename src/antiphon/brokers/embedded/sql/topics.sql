-- What topics there are, and what their partitions hold.

-- name: all_partitions
select t.name, p.number, p.id
from antiphon_log_topics t join antiphon_log_partitions p on p.topic_id = t.id
order by t.name, p.number;

-- name: partitions_of
select p.number, p.id
from antiphon_log_topics t join antiphon_log_partitions p on p.topic_id = t.id
where t.name = ?
order by p.number;

-- name: make_topic
insert into antiphon_log_topics (name, keep_for, keep_bytes) values (?, ?, ?) returning id;

-- name: make_partition
insert into antiphon_log_partitions (topic_id, number) values (?, ?);

-- name: change_retention
update antiphon_log_topics set keep_for = ?2, keep_bytes = ?3 where name = ?1;

-- name: states
select t.name, count(*), sum(p.head - p.floor), sum(p.bytes), t.keep_for, t.keep_bytes
from antiphon_log_topics t join antiphon_log_partitions p on p.topic_id = t.id
group by t.id
order by t.name;
