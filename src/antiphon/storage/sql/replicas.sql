-- What other services' entities look like now: the last state transferred of each, by service, entity and key.

-- name: upsert
insert into antiphon_replicas (service, entity, key, message_id, time, data) values (?, ?, ?, ?, ?, ?)
on conflict (service, entity, key)
do update set message_id = excluded.message_id, time = excluded.time, data = excluded.data;

-- name: delete
delete from antiphon_replicas where service = ? and entity = ? and key = ?;

-- name: get
select key, message_id, time, data from antiphon_replicas where service = ? and entity = ? and key = ?;

-- name: count
select count(*) from antiphon_replicas where service = ? and entity = ?;
