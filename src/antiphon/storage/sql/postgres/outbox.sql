-- As PostgreSQL says it, where rows that one relay has looked at could change before it writes.

-- name: next
select number, bucket, topic, message from (
    select number, bucket, topic, message, sum(length(message)) over (order by number) - length(message) as before
    from (
        select number, bucket, topic, message from antiphon_outbox
        where bucket in (select value::bigint from json_array_elements_text(cast(?1 as json)) as each(value))
        order by number limit ?2
    ) as first_ones
) as measured
where before < ?3 order by number;

-- name: forget
delete from antiphon_outbox
where number in (select value::bigint from json_array_elements_text(cast(?1 as json)) as each(value));

-- name: now
-- The server's clock, since those of many machines differ.
select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) where cast(?1 as bigint) is not null;

-- name: give_up
update antiphon_outbox_leases set token = null, expires_at = 0 where token = ?1
and bucket in (select value::bigint from json_array_elements_text(cast(?2 as json)) as each(value));

-- name: held
select bucket from antiphon_outbox_leases where token = ?1
and bucket in (select value::bigint from json_array_elements_text(cast(?2 as json)) as each(value))
order by bucket for update;
