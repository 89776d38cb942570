-- As PostgreSQL says it.

-- name: note_drops
insert into antiphon_letter_changes (
    letter, consumer_group, kind, changed_at, changed_by, before, after, diagnosis
)
select id, consumer_group, 'drop', ?1, ?2, message, edited, cast(json_build_object(
    'service', service, 'handler', handler, 'topic', topic, 'partition', partition, 'position', position, 'lane', lane,
    'attempts', attempts::json, 'reason', reason, 'fingerprint', fingerprint, 'code_version', code_version,
    'parked_at', since
) as text)
from antiphon_set_aside join antiphon_set_aside_bodies on item = number
where state = 2
and number in (select value::bigint from json_array_elements_text(cast(?3 as json)) as each(value)) order by number;

-- name: lanes
select distinct consumer_group, topic, lane from antiphon_set_aside
where lane is not null
and number in (select value::bigint from json_array_elements_text(cast(?1 as json)) as each(value));

-- name: drop
delete from antiphon_set_aside
where number in (select value::bigint from json_array_elements_text(cast(?1 as json)) as each(value)) and state = 2;
