-- As PostgreSQL says it.

-- name: find_any
select number, state, edited, coalesce(waiting.redrive, letter.redrive),
    case when waiting.redrive is null then redrive_state else 1 end,
    (
        select redrive.id from antiphon_redrives as redrive where redrive.state = 0 and redrive.id = coalesce(
            waiting.redrive, case when redrive_state = 2 then letter.redrive end
        )
    ),
    id, consumer_group, service, handler, topic, partition, position, lane, message, attempts, reason, fingerprint,
    code_version, since
from antiphon_set_aside as letter join antiphon_set_aside_bodies on item = number
left join antiphon_redrive_letters as waiting on waiting.letter = letter.number
where id in (select json_array_elements_text(cast(?1 as json))) order by number;

-- name: parked_before
select count(*) from antiphon_set_aside
where state = 2 and since < ?1
and number in (select value::bigint from json_array_elements_text(cast(?2 as json)) as each(value));

-- name: examples
select number, id, reason, attempts from antiphon_set_aside join antiphon_set_aside_bodies on item = number
where number in (select value::bigint from json_array_elements_text(cast(?1 as json)) as each(value));
