-- What is asked over a session of the user's own, in its transaction.

-- name: begin_writing
-- Changes nothing, and waits for whoever writes.
delete from antiphon_outbox where number < 0;

-- name: guard
savepoint antiphon_handler;

-- name: unguard
release savepoint antiphon_handler;

-- name: identity
-- Which database this is: the same text for all who are connected to the same one.
select file from pragma_database_list where name = 'main';
