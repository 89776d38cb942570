-- As PostgreSQL says it. Its JSON functions take no zero character, which what others wrote may have.

-- name: by_ids
id in (select json_array_elements_text(cast(? as json)));

-- name: by_key
coalesce(lane, replace(message, '\u0000', '\ufffd')::json ->> 'key') = ?;

-- name: by_tenant
replace(message, '\u0000', '\ufffd')::json ->> 'tenant' = ?;

-- name: by_text
exists (
    select 1 from json_array_elements(replace(attempts, '\u0000', '\ufffd')::json) as attempt(value)
    where (value ->> 'error') || ': ' || (value ->> 'text') ilike ? escape '\'
);
