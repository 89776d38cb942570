-- What time is it, for everybody who shares a store?

-- name: now
-- Here that of the machine, which all who share the file share, too.
select ?;
