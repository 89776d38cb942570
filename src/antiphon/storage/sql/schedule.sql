-- Messages to be published later. Those of one key keep their order: none is free while one before it is held.

-- name: take_turn
-- Nothing to do: there is one writer at a time.
select 1;

-- name: schedule
insert into antiphon_scheduled (id, service, topic, key, message_type, bytes, due_at, message)
values (?, ?, ?, ?, ?, ?, ?, ?) on conflict (id) do nothing;

-- name: list
select id, service, topic, key, message_type, due_at, token <> '' or in_doubt, failure, message from antiphon_scheduled
where (cast(?1 as text) is null or topic = ?1) and (cast(?2 as text) is null or service = ?2) order by due_at, number limit ?3;

-- name: find
select id, service, topic, key, message_type, due_at, token <> '' or in_doubt, failure, message from antiphon_scheduled
where id = ?;

-- name: count
select count(*) from antiphon_scheduled where (cast(?1 as text) is null or topic = ?1) and (cast(?2 as text) is null or service = ?2);

-- name: backlog
select count(*), min(due_at) from antiphon_scheduled where failure is null;

-- name: cancel
delete from antiphon_scheduled
where id = ? and (failure is not null or (token = '' and not in_doubt)) returning id;

-- name: moments
select
    (select min(due_at) from antiphon_scheduled where failure is null),
    (select min(due_at) from antiphon_scheduled where failure is null and due_at > ?1),
    (select min(held_until) from antiphon_scheduled where held_until > 0 and held_until > ?1);

-- name: free
select one.number, one.bytes from antiphon_scheduled as one
where one.failure is null and one.due_at <= ?1 and one.held_until <= ?1
and not exists (
    select 1 from antiphon_scheduled as other
    where other.held_until > 0 and other.held_until > ?1
    and other.topic = one.topic and other.key = one.key
    and (other.due_at, other.number) < (one.due_at, one.number)
)
order by one.due_at, one.number limit ?2;

-- name: claim
-- Who had it in hand before and said nothing of it may have published it.
update antiphon_scheduled set in_doubt = in_doubt or token <> '', token = ?, held_until = ?
where number in (select value from json_each(?))
returning due_at, number, id, topic, message;

-- name: done
delete from antiphon_scheduled where token = ? and number in (select value from json_each(?));

-- name: put_off
update antiphon_scheduled
set held_until = ?3 + min(?5, ?4 << min(tries, 20)), tries = tries + 1, in_doubt = in_doubt or ?6, token = ''
where token = ?1 and number in (select value from json_each(?2));

-- name: fail
update antiphon_scheduled set failure = ?3, held_until = 0, token = '' where token = ?1 and number = ?2;
