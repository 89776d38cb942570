-- Messages that were committed with what they tell of, until a broker holds them.

-- name: stage
-- Any number of messages, in their order.
insert into antiphon_outbox (bucket, topic, key, message, staged_at)
select json_extract(value, '$.bucket'), json_extract(value, '$.topic'), json_extract(value, '$.key'),
    json_extract(value, '$.message'), ?1
from json_each(?2) order by json_each.key;

-- name: next
-- Of these buckets, the first so many, as far as their bytes go; at least one.
select number, bucket, topic, message from (
    select number, bucket, topic, message, sum(length(message)) over (order by number) - length(message) as before
    from (
        select number, bucket, topic, message from antiphon_outbox
        where bucket in (select value from json_each(?1)) order by number limit ?2
    )
)
where before < ?3 order by number;

-- name: forget
delete from antiphon_outbox where number in (select value from json_each(?));

-- name: backlog
select count(*), min(staged_at) from antiphon_outbox;

-- name: is_empty
select not exists (select 1 from antiphon_outbox);

-- name: make_leases
-- Those of an outbox that is not our own.
insert into antiphon_outbox_leases (bucket) values (?) on conflict do nothing;

-- name: enter
insert into antiphon_outbox_relays (token, heard_at) values (?1, ?2)
on conflict (token) do update set heard_at = excluded.heard_at;

-- name: leave
delete from antiphon_outbox_relays where token = ?;

-- name: forget_silent
delete from antiphon_outbox_relays where heard_at < ?;

-- name: relays
select token, heard_at from antiphon_outbox_relays;

-- name: leases
select bucket, token, epoch, expires_at from antiphon_outbox_leases order by bucket;

-- name: reserve
-- Nothing to do: there is one writer at a time.
select ?1, ?2;

-- name: claim
-- As it was read: its owner may have renewed it since.
update antiphon_outbox_leases set token = ?2, epoch = epoch + 1, expires_at = ?5
where bucket = ?1 and epoch = ?3 and expires_at = ?4;

-- name: renew
update antiphon_outbox_leases set expires_at = ?2 where token = ?1;

-- name: give_up
update antiphon_outbox_leases set token = null, expires_at = 0
where token = ?1 and bucket in (select value from json_each(?2));

-- name: held
select bucket, epoch from antiphon_outbox_leases where token = ?1 and bucket in (select value from json_each(?2));
