-- As PostgreSQL says it, where several processes publish what is due: each takes its turn to claim. What changes several
-- rows locks them in the order of their numbers, so that nobody waits for one while somebody waits for one of his.

-- name: take_turn
insert into antiphon_turns (name) values ('schedule') on conflict (name) do update set taken = antiphon_turns.taken + 1;

-- name: claim
update antiphon_scheduled set in_doubt = in_doubt or token <> '', token = ?1, held_until = ?2
where number = any(array(
    select number from antiphon_scheduled where number in (
        select value::bigint from json_array_elements_text(cast(?3 as json)) as each(value)
    ) order by number for update
))
returning due_at, number, id, topic, message;

-- name: done
delete from antiphon_scheduled
where token = ?1 and number = any(array(
    select number from antiphon_scheduled where token = ?1 and number in (
        select value::bigint from json_array_elements_text(cast(?2 as json)) as each(value)
    ) order by number for update
));

-- name: put_off
update antiphon_scheduled set
    held_until = ?3 + least(?5, cast(?4 as bigint) << least(tries, 20)::integer), tries = tries + 1,
    in_doubt = in_doubt or ?6, token = ''
where token = ?1 and number = any(array(
    select number from antiphon_scheduled where token = ?1 and number in (
        select value::bigint from json_array_elements_text(cast(?2 as json)) as each(value)
    ) order by number for update
));
