-- As PostgreSQL says it. Several processes mark at once: who comes second waits for the first one's commit. All do so in
-- one order, so that no two wait for each other.

-- name: begin_generation
insert into antiphon_inbox_consumers (consumer, generation)
select cast(?1 as text), coalesce(max(generation), 0) + 1 from antiphon_inbox_consumers where consumer = ?1
on conflict do nothing;

-- name: mark
insert into antiphon_inbox (consumer, id, marked_at)
select newest.number, value, ?2
from (select number from antiphon_inbox_consumers where consumer = ?1 order by generation desc limit 1) as newest,
    json_array_elements_text(cast(?3 as json)) as each(value)
order by value collate "C"
on conflict do nothing returning id;

-- name: known
select id from antiphon_inbox
where consumer = (select number from antiphon_inbox_consumers where consumer = ?1 order by generation desc limit 1)
and id in (select json_array_elements_text(cast(?2 as json)));

-- name: forget
delete from antiphon_inbox
where consumer = ?1 and id in (select json_array_elements_text(cast(?2 as json)));

-- name: delete_past
delete from antiphon_inbox where consumer = ?1
and id in (select id from antiphon_inbox where consumer = ?1 order by id limit ?2);
