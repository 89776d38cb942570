-- Messages given up, each with its whole diagnosis, until someone redrives or drops them. They are found by numbers first,
-- from indexes where that is enough; what is long of them is read last.

-- name: find
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
where number in (
    select number from antiphon_set_aside where state = 2 and number > ? /* fitting */ order by number limit ?
) order by number;

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
where id in (select value from json_each(?)) order by number;

-- name: outline
select number, id, state, (
        select redrive.id from antiphon_redrives as redrive where redrive.state = 0 and redrive.id = coalesce(
            waiting.redrive, case when redrive_state = 2 then letter.redrive end
        )
    ), consumer_group, handler, topic, message_type
from antiphon_set_aside as letter left join antiphon_redrive_letters as waiting on waiting.letter = letter.number
where state = 2 /* fitting */ order by number limit ?;

-- name: outline_any
select number, id, state, (
        select redrive.id from antiphon_redrives as redrive where redrive.state = 0 and redrive.id = coalesce(
            waiting.redrive, case when redrive_state = 2 then letter.redrive end
        )
    ), consumer_group, handler, topic, message_type
from antiphon_set_aside as letter left join antiphon_redrive_letters as waiting on waiting.letter = letter.number
where true /* fitting */ order by number limit ?;

-- name: parked_before
-- From the index alone.
select count(*) from antiphon_set_aside indexed by antiphon_set_aside_parked
where state = 2 and since < ? and number in (select value from json_each(?));

-- name: groups_in_redrive
-- Whose letters of a redrive wait or are on their way.
select consumer_group from antiphon_set_aside where redrive = ?1 and redrive_state = 2
union
select letter.consumer_group from antiphon_redrive_letters as waiting
join antiphon_set_aside as letter on letter.number = waiting.letter where waiting.redrive = ?1
order by 1;

-- name: ids_beginning
select id from antiphon_set_aside where id >= ? and id < ? order by id limit ?;

-- name: count
select count(*) from antiphon_set_aside where state = 2 /* fitting */;

-- name: failures
select consumer_group, handler, fingerprint, count(*), min(since), max(since), max(number)
from antiphon_set_aside where state = 2 /* fitting */
group by consumer_group, fingerprint, handler order by count(*) desc, max(number) desc;

-- name: examples
select number, id, reason, attempts from antiphon_set_aside join antiphon_set_aside_bodies on item = number
where number in (select value from json_each(?));

-- name: behind
select count(*), min(since) from antiphon_set_aside
where consumer_group = ?1 and topic = ?2 and lane = ?3 and state = 1
and number > (select number from antiphon_set_aside where id = ?4);
