-- Who changed dead letters, when and how. What was dropped is kept here whole.

-- name: edit
-- Only what was read may be replaced.
update antiphon_set_aside_bodies set edited = ?3
where item = (select number from antiphon_set_aside where id = ?1 and state = 2)
and coalesce(edited, message) = ?2 and not exists (
    select 1 from antiphon_redrive_letters as waiting
    join antiphon_redrives as redrive on redrive.id = waiting.redrive and redrive.state = 0
    where waiting.letter = item
) returning item;

-- name: note_edit
insert into antiphon_letter_changes (letter, consumer_group, kind, changed_at, changed_by, before, after)
values (?, ?, ?, ?, ?, ?, ?);

-- name: note_drops
insert into antiphon_letter_changes (
    letter, consumer_group, kind, changed_at, changed_by, before, after, diagnosis
)
select id, consumer_group, 'drop', ?1, ?2, message, edited, json_object(
    'service', service, 'handler', handler, 'topic', topic, 'partition', partition, 'position', position, 'lane', lane,
    'attempts', json(attempts), 'reason', reason, 'fingerprint', fingerprint, 'code_version', code_version,
    'parked_at', since
)
from antiphon_set_aside join antiphon_set_aside_bodies on item = number
where state = 2 and number in (select value from json_each(?3)) order by number;

-- name: lanes
select distinct consumer_group, topic, lane from antiphon_set_aside
where lane is not null and number in (select value from json_each(?));

-- name: drop
delete from antiphon_set_aside where number in (select value from json_each(?)) and state = 2;

-- name: changes_of
select number, letter, consumer_group, kind, changed_at, changed_by, before, after, diagnosis
from antiphon_letter_changes where letter = ? order by number;

-- name: dropped
select number, letter, consumer_group, kind, changed_at, changed_by, before, after, diagnosis
from antiphon_letter_changes where kind = 'drop' and number < ?1 and (cast(?2 as text) is null or consumer_group = ?2)
order by number desc limit ?3;
