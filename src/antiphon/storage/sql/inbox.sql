-- Which messages a consumer has handled: a mark each, under the consumer's newest generation.

-- name: number
select number from antiphon_inbox_consumers where consumer = ? order by generation desc limit 1;

-- name: begin_generation
insert into antiphon_inbox_consumers (consumer, generation)
select ?1, coalesce(max(generation), 0) + 1 from antiphon_inbox_consumers where consumer = ?1;

-- name: begin_first
insert into antiphon_inbox_consumers (consumer, generation) values (?, 1) on conflict do nothing;

-- name: mark
-- Nothing, while the consumer has no generation yet.
insert or ignore into antiphon_inbox (consumer, id, marked_at)
select newest.number, value, ?2
from (select number from antiphon_inbox_consumers where consumer = ?1 order by generation desc limit 1) as newest,
    json_each(?3)
where true returning id;

-- name: known
select id from antiphon_inbox
where consumer = (select number from antiphon_inbox_consumers where consumer = ?1 order by generation desc limit 1)
and id in (select value from json_each(?2));

-- name: forget
delete from antiphon_inbox where consumer = ? and id in (select value from json_each(?));

-- name: step
select id from antiphon_inbox where consumer = ? and id > ? order by id limit 1 offset ?;

-- name: delete_old
delete from antiphon_inbox where consumer = ? and id > ? and id <= ? and marked_at < ?;

-- name: delete_old_to_end
delete from antiphon_inbox where consumer = ? and id > ? and marked_at < ?;

-- name: past_numbers
select number from antiphon_inbox_consumers where consumer = ?1
and generation < (select max(generation) from antiphon_inbox_consumers where consumer = ?1) order by generation;

-- name: delete_past
delete from antiphon_inbox where consumer = ?1
and id in (select id from antiphon_inbox where consumer = ?1 limit ?2);

-- name: has_marks
select exists (select 1 from antiphon_inbox where consumer = ?);

-- name: end_generation
delete from antiphon_inbox_consumers where number = ?;
