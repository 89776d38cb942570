-- The conditions that a question about dead letters can have, each with its arguments. A lane is the key where its
-- order is kept.

-- name: by_ids
id in (select value from json_each(?));

-- name: by_group
consumer_group = ?;

-- name: by_handler
handler = ?;

-- name: by_topic
topic = ?;

-- name: by_key
(
    lane = ? or lane is null
    and (
        select json_extract(replace(message, '\u0000', '\ufffd'), '$.key')
        from antiphon_set_aside_bodies where item = number
    ) = ?
);

-- name: by_type
message_type = ?;

-- name: by_reason
reason = ?;

-- name: by_fingerprint
fingerprint = ?;

-- name: by_message
message_id = ?;

-- name: by_tenant
(select json_extract(message, '$.tenant') from antiphon_set_aside_bodies where item = number) = ?;

-- name: by_since
since >= ?;

-- name: by_until
since < ?;

-- name: by_text
exists (
    select 1 from antiphon_set_aside_bodies, json_each(attempts)
    where item = number and json_extract(value, '$.error') || ': ' || json_extract(value, '$.text') like ? escape '\'
);
