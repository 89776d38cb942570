-- As PostgreSQL says it, where rows that one relay has looked at could change before it writes.

-- name: stage
insert into antiphon_outbox (bucket, topic, key, message, staged_at)
select bucket, topic, key, message, ?1
from rows from (json_to_recordset(cast(?2 as json)) as (bucket bigint, topic text, key text, message text))
    with ordinality as each(bucket, topic, key, message, place)
order by place;

-- name: next
-- The buckets as an array: joined with, they make the server sort all that rests, by several workers.
select number, bucket, topic, message from (
    select number, bucket, topic, message,
        sum(octet_length(message)) over (order by number) - octet_length(message) as before
    from (
        select number, bucket, topic, message from antiphon_outbox
        where bucket = any(array(select value::bigint from json_array_elements_text(cast(?1 as json)) as each(value)))
        order by number limit ?2
    ) as first_ones
) as measured
where before < ?3 order by number;

-- name: forget
delete from antiphon_outbox
where number = any(array(select value::bigint from json_array_elements_text(cast(?1 as json)) as each(value)));

-- name: forget_silent
-- One that is being written now is not silent any more.
delete from antiphon_outbox_relays where token = any(array(
    select token from antiphon_outbox_relays where heard_at < ?1 for update skip locked
));

-- name: reserve
-- All that a relay is about to change, in the order of the buckets: two that take over from each other would wait in a circle.
select bucket from antiphon_outbox_leases where token = ?1
or bucket in (select value::bigint from json_array_elements_text(cast(?2 as json)) as each(value))
order by bucket for update;

-- name: renew
-- In the order of the buckets, as below: a relay renews while it makes sure of those that it publishes.
update antiphon_outbox_leases set expires_at = ?2 where bucket = any(array(
    select bucket from antiphon_outbox_leases where token = ?1 order by bucket for update
));

-- name: give_up
update antiphon_outbox_leases set token = null, expires_at = 0 where bucket = any(array(
    select bucket from antiphon_outbox_leases where token = ?1
    and bucket in (select value::bigint from json_array_elements_text(cast(?2 as json)) as each(value))
    order by bucket for update
));

-- name: held
select bucket, epoch from antiphon_outbox_leases where token = ?1
and bucket in (select value::bigint from json_array_elements_text(cast(?2 as json)) as each(value))
order by bucket for update;
