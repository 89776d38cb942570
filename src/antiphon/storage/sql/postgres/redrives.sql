-- As PostgreSQL says it.

-- name: parked
select count(*) from antiphon_set_aside
where state = 2 and number in (select value::bigint from json_array_elements_text(cast(?1 as json)) as each(value));

-- name: busy
select count(*) from json_array_elements_text(cast(?1 as json)) as chosen(value)
join antiphon_redrive_letters as waiting on waiting.letter = chosen.value::bigint
join antiphon_redrives as redrive on redrive.id = waiting.redrive and redrive.state = 0;

-- name: note_leaving
update antiphon_redrives set step = step + 1, gone = gone + (
    select count(*) from antiphon_redrive_letters as waiting
    where waiting.redrive = antiphon_redrives.id
    and waiting.letter in (select value::bigint from json_array_elements_text(cast(?1 as json)) as each(value))
)
where id in (
    select redrive from antiphon_redrive_letters
    where letter in (select value::bigint from json_array_elements_text(cast(?1 as json)) as each(value))
);

-- name: leave
delete from antiphon_redrive_letters
where letter in (select value::bigint from json_array_elements_text(cast(?1 as json)) as each(value));

-- name: note_failed_leaving
update antiphon_redrives set step = step + 1, gone = gone + (
    select count(*) from antiphon_set_aside as letter
    where letter.redrive = antiphon_redrives.id
    and letter.number in (select value::bigint from json_array_elements_text(cast(?1 as json)) as each(value))
)
where id in (
    select redrive from antiphon_set_aside where redrive is not null
    and number in (select value::bigint from json_array_elements_text(cast(?1 as json)) as each(value))
);

-- name: take
insert into antiphon_redrive_letters (letter, redrive)
select value::bigint, ?1 from json_array_elements_text(cast(?2 as json)) as each(value);

-- name: release
update antiphon_set_aside set
    redrive = ?3, redrive_state = 2, forgiven = tried, due_at = ?1, token = null,
    held_until = 0,
    state = case when lane is not null and exists (
        select 1 from antiphon_set_aside as before
        where before.consumer_group = antiphon_set_aside.consumer_group and before.topic = antiphon_set_aside.topic
        and before.lane = antiphon_set_aside.lane and before.number < antiphon_set_aside.number
    ) then 1 else 0 end
where number in (select value::bigint from json_array_elements_text(cast(?2 as json)) as each(value)) and state = 2;
