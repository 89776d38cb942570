-- As PostgreSQL says it.

-- name: release_claims
-- What somebody is changing now he has taken over, or lets go of.
update antiphon_set_aside set token = null, held_until = 0 where number = any(array(
    select number from antiphon_set_aside where consumer_group = ?1 and token = ?2 for update skip locked
));
