-- Messages given up, each with its whole diagnosis, until someone redrives or deletes them.

-- name: park
insert or ignore into antiphon_dead_letters (
    id, consumer_group, service, handler, topic, partition, position,
    message_id, message_type, message, attempts, reason, code_version, parked_at
) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: list_parked
select id, consumer_group, service, handler, topic, partition, position,
    message, attempts, reason, code_version, parked_at
from antiphon_dead_letters where ?1 is null or consumer_group = ?1 order by number limit ?2;

-- name: count
select count(*) from antiphon_dead_letters where ?1 is null or consumer_group = ?1;
