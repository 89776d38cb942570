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

-- name: now
-- The server's clock, since those of many machines differ.
select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) where cast(?1 as bigint) is not null;

-- name: give_up
update antiphon_outbox_leases set token = null, expires_at = 0 where token = ?1
and bucket in (select value::bigint from json_array_elements_text(cast(?2 as json)) as each(value));

-- name: held
select bucket, epoch from antiphon_outbox_leases where token = ?1
and bucket in (select value::bigint from json_array_elements_text(cast(?2 as json)) as each(value))
order by bucket for update;
