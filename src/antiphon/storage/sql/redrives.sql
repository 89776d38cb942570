-- Redrives, and the dead letters that wait for their turn in them. Each change of a redrive names the step that it follows,
-- so that of many who try only one makes it.

-- name: insert
insert into antiphon_redrives (id, started_at, started_by, total, canaries, canaries_until, stop_after, spacing, next_at)
values (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, ?8);

-- name: parked
-- How many of the chosen are dead letters; from the index alone.
select count(*) from antiphon_set_aside indexed by antiphon_set_aside_parked
where state = 2 and number in (select value from json_each(?));

-- name: busy
-- How many of the chosen wait in a redrive that runs.
select count(*) from json_each(?) as chosen
join antiphon_redrive_letters as waiting on waiting.letter = chosen.value
join antiphon_redrives as redrive on redrive.id = waiting.redrive and redrive.state = 0;

-- name: note_leaving
-- The chosen letters leave the redrives that they wait in.
update antiphon_redrives set step = step + 1, gone = gone + (
    select count(*) from antiphon_redrive_letters as waiting
    where waiting.redrive = antiphon_redrives.id and waiting.letter in (select value from json_each(?1))
)
where id in (select redrive from antiphon_redrive_letters where letter in (select value from json_each(?1)));

-- name: leave
delete from antiphon_redrive_letters where letter in (select value from json_each(?));

-- name: note_failed_leaving
-- The chosen letters leave the redrives in which they failed again.
update antiphon_redrives set step = step + 1, gone = gone + (
    select count(*) from antiphon_set_aside as letter
    where letter.redrive = antiphon_redrives.id and letter.number in (select value from json_each(?1))
)
where id in (
    select redrive from antiphon_set_aside where redrive is not null and number in (select value from json_each(?1))
);

-- name: take
insert into antiphon_redrive_letters (letter, redrive) select value, ? from json_each(?);

-- name: get
select id, started_at, started_by, state, total, released, gone, canaries, canaries_until, stop_after, failures_before,
    spacing, next_at, step, ended_at, note
from antiphon_redrives where id = ?;

-- name: list
select id, started_at, started_by, state, total, released, gone, canaries, canaries_until, stop_after, failures_before,
    spacing, next_at, step, ended_at, note
from antiphon_redrives order by number desc limit ?;

-- name: running
select id from antiphon_redrives where state = 0 order by number;

-- name: counts
select 1, count(*) from antiphon_redrive_letters where redrive = ?1
union all select redrive_state, count(*) from antiphon_set_aside where redrive = ?1 group by redrive_state;

-- name: waiting
select letter from antiphon_redrive_letters where redrive = ? order by letter limit ?;

-- name: release
-- One that is not the first of its lane waits behind that.
update antiphon_set_aside set
    redrive = ?3, redrive_state = 2, forgiven = tried, due_at = ?1, token = null, held_until = 0,
    state = case when lane is not null and exists (
        select 1 from antiphon_set_aside as before
        where before.consumer_group = antiphon_set_aside.consumer_group and before.topic = antiphon_set_aside.topic
        and before.lane = antiphon_set_aside.lane and before.number < antiphon_set_aside.number
    ) then 1 else 0 end
where number in (select value from json_each(?2)) and state = 2;

-- name: take_back
-- Whatever was released and is in nobody's hands.
update antiphon_set_aside set state = 2, redrive = null, redrive_state = 0, token = null, held_until = 0
where redrive = ?1 and redrive_state = 2 and state <> 2 and (token is null or held_until < ?2) returning number;

-- name: change
update antiphon_redrives
set state = ?3, released = ?4, next_at = ?5, canaries_until = ?6, failures_before = ?7, ended_at = ?8, note = ?9,
    step = step + 1
where id = ?1 and step = ?2 returning step;
