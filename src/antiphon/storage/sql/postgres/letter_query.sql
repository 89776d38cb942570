-- As PostgreSQL says it. Its JSON functions take no zero character, which what others wrote may have.

-- name: by_ids
id in (select json_array_elements_text(cast(? as json)));

-- name: by_key
(lane = ? or lane is null and (
    select replace(message, '\u0000', '\ufffd')::json ->> 'key' from antiphon_set_aside_bodies where item = number
) = ?);

-- name: by_tenant
(
    select replace(message, '\u0000', '\ufffd')::json ->> 'tenant' from antiphon_set_aside_bodies where item = number
) = ?;

-- name: by_text
exists (
    select 1 from antiphon_set_aside_bodies,
        json_array_elements(replace(attempts, '\u0000', '\ufffd')::json) as attempt(value)
    where item = number and (value ->> 'error') || ': ' || (value ->> 'text') ilike ? escape '\'
);
