-- Messages taken out of the flow. A lane is the messages of one key on one topic, where their order is kept. What is long of
-- them is in a table of its own, which is touched only where it is asked for.

-- name: take_turn
-- Nothing to do: there is one writer at a time.
select 1;

-- name: await_turn
-- Nor here, and nobody asks.
select 1;

-- name: insert
-- Where its lane holds something already, what would be tried waits behind that.
insert or ignore into antiphon_set_aside (
    id, consumer_group, service, handler, topic, partition, position, lane, state, due_at,
    message_id, message_type, reason, fingerprint, code_version, since, tried
)
select
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,
    case
        when ?9 <> 2 and ?8 is not null and exists (
            select 1 from antiphon_set_aside where consumer_group = ?2 and topic = ?5 and lane = ?8
        ) then 1
        when ?9 = 1 then 0
        else ?9
    end,
    ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17;

-- name: insert_body
insert or ignore into antiphon_set_aside_bodies (item, message, attempts)
select number, ?2, ?3 from antiphon_set_aside where id = ?1;

-- name: blocked
select distinct topic, lane from antiphon_set_aside indexed by antiphon_set_aside_lanes
where consumer_group = ? and lane is not null limit ?;

-- name: blocked_among
select distinct lane from antiphon_set_aside indexed by antiphon_set_aside_lanes
where consumer_group = ? and topic = ? and lane in (select value from json_each(?));

-- name: parked_heads
select topic, lane, partition, position from antiphon_set_aside
where state = 2 and number in (
    select min(number) from antiphon_set_aside indexed by antiphon_set_aside_lanes
    where consumer_group = ?1 and topic = ?2 and lane in (select value from json_each(?3)) group by lane
);

-- name: next_due
-- What nobody has in hand, and what somebody held for too long: each from an index of its own.
select min(due_at) from (
    select min(due_at) as due_at from antiphon_set_aside indexed by antiphon_set_aside_due
    where consumer_group = ?1 and state = 0 and token is null and topic not in (select value from json_each(?3))
    union all
    select min(due_at) from antiphon_set_aside indexed by antiphon_set_aside_claims
    where consumer_group = ?1 and held_until < ?2 and token is not null and token <> ?4 and state = 0
    and topic not in (select value from json_each(?3))
);

-- name: due
select number, topic, lane, due_at from antiphon_set_aside indexed by antiphon_set_aside_due
where consumer_group = ?1 and state = 0 and token is null and due_at <= ?2
and topic not in (select value from json_each(?4))
union all
select number, topic, lane, due_at from antiphon_set_aside indexed by antiphon_set_aside_claims
where consumer_group = ?1 and held_until < ?2 and token is not null and token <> ?3 and state = 0 and due_at <= ?2
and topic not in (select value from json_each(?4))
order by due_at, number limit ?5;

-- name: in_lanes
select number, lane, state, token is not null and held_until >= ?5
from antiphon_set_aside indexed by antiphon_set_aside_lanes
where consumer_group = ?1 and topic = ?2 and lane in (select value from json_each(?3)) order by number limit ?4;

-- name: claim
update antiphon_set_aside set token = ?, held_until = ? where number in (select value from json_each(?));

-- name: claimed
select number, topic, partition, position, lane, coalesce(edited, message), attempts, forgiven, redrive_state = 2
from antiphon_set_aside join antiphon_set_aside_bodies on item = number
where number in (select value from json_each(?)) order by number;

-- name: extend
update antiphon_set_aside set held_until = ?3
where consumer_group = ?1 and token = ?2 and number in (select value from json_each(?4));

-- name: finish
delete from antiphon_set_aside where token = ?1 and number in (select value from json_each(?2)) returning number;

-- name: release
update antiphon_set_aside set token = null, held_until = 0
where token = ?1 and number in (select value from json_each(?2));

-- name: release_all
update antiphon_set_aside indexed by antiphon_set_aside_claims set token = null, held_until = 0
where consumer_group = ?1 and token = ?2 and state <> 2 and number not in (select value from json_each(?3));

-- name: again
update antiphon_set_aside
set state = ?3, due_at = ?4, tried = ?5, reason = ?6, fingerprint = ?7, code_version = ?8, since = ?9,
    service = ?10, handler = ?11, token = null, held_until = 0,
    redrive_state = case when redrive is not null and ?3 = 2 then 3 else redrive_state end
where token = ?1 and number = ?2 returning number;

-- name: again_body
update antiphon_set_aside_bodies set attempts = ? where item = ?;

-- name: promote
update antiphon_set_aside set state = 0, due_at = ?4
where state = 1 and number in (
    select min(number) from antiphon_set_aside indexed by antiphon_set_aside_lanes
    where consumer_group = ?1 and topic = ?2 and lane in (select value from json_each(?3)) group by lane
);

-- name: has_behind
select exists (
    select 1 from antiphon_set_aside indexed by antiphon_set_aside_behind where state = 1 and consumer_group = ?
);

-- name: is_due
select exists (
    select 1 from antiphon_set_aside indexed by antiphon_set_aside_due
    where consumer_group = ?1 and state = 0 and token is null and due_at <= ?2
    and topic not in (select value from json_each(?3))
) or exists (
    select 1 from antiphon_set_aside indexed by antiphon_set_aside_claims
    where consumer_group = ?1 and token is not null and state = 0 and due_at <= ?2
    and topic not in (select value from json_each(?3))
);

-- name: waiting
select
    topic, partition, position, service, consumer_group, handler, lane, state, due_at,
    coalesce(edited, message), attempts, reason, fingerprint, code_version, since
from antiphon_set_aside join antiphon_set_aside_bodies on item = number
where state <> 2 and (cast(?1 as text) is null or consumer_group = ?1) order by number limit ?2;

-- name: next_moment
-- What is in hand is due already.
select min(due_at) from antiphon_set_aside indexed by antiphon_set_aside_due
where state = 0 and token is null and due_at > ?;

-- name: counts
-- Each from an index of its own; what is in hand is not in that of what is due.
select 0, sum(found) from (
    select count(*) as found from antiphon_set_aside indexed by antiphon_set_aside_due
    where state = 0 and token is null and consumer_group = ?1
    union all
    select count(*) from antiphon_set_aside indexed by antiphon_set_aside_claims
    where state = 0 and token is not null and consumer_group = ?1
)
union all
select 1, count(*) from antiphon_set_aside indexed by antiphon_set_aside_behind where state = 1 and consumer_group = ?1
union all
select 2, count(*) from antiphon_set_aside indexed by antiphon_set_aside_parked where state = 2 and consumer_group = ?1;
