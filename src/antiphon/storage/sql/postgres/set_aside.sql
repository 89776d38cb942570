-- As PostgreSQL says it, where several processes change what is set aside at once: each takes its turn first, since what
-- it does depends on what else is in the lane. A turn is a row that is changed, so that it holds in every isolation.

-- name: take_turn
insert into antiphon_turns (name) values ('set_aside') on conflict (name) do update set taken = antiphon_turns.taken + 1;

-- name: await_turn
-- It waits for whoever has the turn, and alone of all statements without looking: what a stricter isolation sees is what
-- there is at the first one that looks.
lock table antiphon_turns in share row exclusive mode;

-- name: insert
insert into antiphon_set_aside (
    id, consumer_group, service, handler, topic, partition, position, lane, state, due_at,
    message_id, message_type, reason, fingerprint, code_version, since, tried
)
select
    ?1, cast(?2 as text), ?3, ?4, cast(?5 as text), ?6, ?7, cast(?8 as text),
    case
        when ?9 <> 2 and cast(?8 as text) is not null and exists (
            select 1 from antiphon_set_aside where consumer_group = ?2 and topic = ?5 and lane = ?8
        ) then 1
        when ?9 = 1 then 0
        else ?9
    end,
    ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17
on conflict (id) do nothing;

-- name: insert_body
insert into antiphon_set_aside_bodies (item, message, attempts)
select number, ?2, ?3 from antiphon_set_aside where id = ?1
on conflict (item) do nothing;

-- name: blocked
select distinct topic, lane from antiphon_set_aside where consumer_group = ? and lane is not null limit ?;

-- name: blocked_among
select distinct lane from antiphon_set_aside
where consumer_group = ?1 and topic = ?2 and lane in (select json_array_elements_text(cast(?3 as json)));

-- name: parked_heads
select topic, lane, partition, position from antiphon_set_aside
where state = 2 and number in (
    select min(number) from antiphon_set_aside
    where consumer_group = ?1 and topic = ?2 and lane in (select json_array_elements_text(cast(?3 as json)))
    group by lane
);

-- name: next_due
select min(due_at) from antiphon_set_aside
where consumer_group = ?1 and state = 0 and (token is null or (held_until < ?2 and token <> ?4))
and topic not in (select json_array_elements_text(cast(?3 as json)));

-- name: due
select number, topic, lane, due_at from antiphon_set_aside
where consumer_group = ?1 and state = 0 and due_at <= ?2
and (token is null or (held_until < ?2 and token <> ?3))
and topic not in (select json_array_elements_text(cast(?4 as json)))
order by due_at, number limit ?5;

-- name: in_lanes
select number, lane, state, token is not null and held_until >= ?5
from antiphon_set_aside
where consumer_group = ?1 and topic = ?2 and lane in (select json_array_elements_text(cast(?3 as json)))
order by number limit ?4;

-- name: claim
update antiphon_set_aside set token = ?1, held_until = ?2
where number in (select value::bigint from json_array_elements_text(cast(?3 as json)) as each(value));

-- name: claimed
select number, topic, partition, position, lane, coalesce(edited, message), attempts, forgiven, redrive_state = 2
from antiphon_set_aside join antiphon_set_aside_bodies on item = number
where number in (select value::bigint from json_array_elements_text(cast(?1 as json)) as each(value)) order by number;

-- name: extend
update antiphon_set_aside set held_until = ?3
where consumer_group = ?1 and token = ?2
and number in (select value::bigint from json_array_elements_text(cast(?4 as json)) as each(value));

-- name: finish
delete from antiphon_set_aside
where token = ?1 and number in (select value::bigint from json_array_elements_text(cast(?2 as json)) as each(value))
returning number;

-- name: release
update antiphon_set_aside set token = null, held_until = 0
where token = ?1 and number in (select value::bigint from json_array_elements_text(cast(?2 as json)) as each(value));

-- name: release_all
update antiphon_set_aside set token = null, held_until = 0
where consumer_group = ?1 and token = ?2 and state <> 2
and number <> all(array(select value::bigint from json_array_elements_text(cast(?3 as json)) as each(value)));

-- name: has_behind
select exists (select 1 from antiphon_set_aside where state = 1 and consumer_group = ?1);

-- name: next_moment
select min(due_at) from antiphon_set_aside where state = 0 and token is null and due_at > ?1;

-- name: promote
update antiphon_set_aside set state = 0, due_at = ?4
where state = 1 and number in (
    select min(number) from antiphon_set_aside
    where consumer_group = ?1 and topic = ?2 and lane in (select json_array_elements_text(cast(?3 as json)))
    group by lane
);

-- name: is_due
select exists (
    select 1 from antiphon_set_aside
    where consumer_group = ?1 and state = 0 and due_at <= ?2
    and topic not in (select json_array_elements_text(cast(?3 as json)))
);

-- name: counts
select 0, count(*) from antiphon_set_aside where state = 0 and consumer_group = ?1
union all
select 1, count(*) from antiphon_set_aside where state = 1 and consumer_group = ?1
union all
select 2, count(*) from antiphon_set_aside where state = 2 and consumer_group = ?1;
