-- As PostgreSQL says it.

-- name: release_claims
update antiphon_set_aside set token = null, held_until = 0 where consumer_group = ?1 and token = ?2;
