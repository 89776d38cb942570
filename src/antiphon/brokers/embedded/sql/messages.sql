-- Messages in and out. A partition's ends come from its row, never from a search.

-- name: ends
select p.number, p.id, p.head, p.arrived
from antiphon_log_topics t join antiphon_log_partitions p on p.topic_id = t.id
where t.name = ?
order by p.number;

-- name: append
insert into antiphon_log_messages (place, id, type, key, arrived, data, rest) values (?, ?, ?, ?, ?, ?, ?);

-- name: move_ends
update antiphon_log_partitions
set head = ?2, bytes = bytes + ?3, largest = max(largest, ?4), arrived = ?5
where id = ?1;

-- name: read
select id, type, key, data, rest
from antiphon_log_messages
where place > ? and place <= ?;

-- name: read_arrived
select id, type, key, data, rest, arrived, place
from antiphon_log_messages
where place > ? and place <= ?;

-- name: sizes
select ifnull(length(data), 0)
from antiphon_log_messages
where place > ? and place <= ?;

-- name: arrived_at
select arrived from antiphon_log_messages where place = ?;

-- name: delete_range
delete from antiphon_log_messages where place > ? and place <= ?;

-- name: size_of_range
select ifnull(sum(length(data)), 0) from antiphon_log_messages where place > ? and place <= ?;

-- name: raise_floor
update antiphon_log_partitions set floor = ?3, bytes = bytes - ?4 where id = ?1 and floor = ?2 returning id;

-- name: kept_by_age
select p.id, p.floor, p.head, t.keep_for
from antiphon_log_topics t join antiphon_log_partitions p on p.topic_id = t.id
where t.keep_for is not null and p.head > p.floor;

-- name: beyond_size
select t.id, sum(p.bytes) - t.keep_bytes
from antiphon_log_topics t join antiphon_log_partitions p on p.topic_id = t.id
where t.keep_bytes is not null
group by t.id
having sum(p.bytes) > t.keep_bytes;

-- name: oldest_two
select p.id, p.floor, p.head, m.arrived
from antiphon_log_partitions p join antiphon_log_messages m on m.place = (p.id << 40) | (p.floor + 1)
where p.topic_id = ? and p.head > p.floor
order by m.arrived, p.id
limit 2;
