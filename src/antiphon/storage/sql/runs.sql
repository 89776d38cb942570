-- Which services run where, and which messages may have killed a process.

-- name: begin
insert into antiphon_runs (id, consumer_group, service, host, pid, process, started_at, beat_at)
values (?, ?, ?, ?, ?, ?, ?, ?);

-- name: beat
update antiphon_runs set beat_at = ?, status = ? where id = ? returning id;

-- name: working
update antiphon_runs set working = ?, alone = ? where id = ?;

-- name: end
delete from antiphon_runs where id = ?;

-- name: runs
select id, consumer_group, service, host, pid, process, started_at, beat_at, status from antiphon_runs
where (cast(?1 as text) is null or consumer_group = ?1) order by started_at, id;

-- name: take_dead
-- Unless it was heard of since.
delete from antiphon_runs where id = ? and beat_at <= ? returning working, alone;

-- name: release_claims
update antiphon_set_aside indexed by antiphon_set_aside_claims set token = null, held_until = 0
where consumer_group = ? and token = ?;

-- name: suspect
insert into antiphon_suspects (consumer_group, identity, crashes, found_at) values (?1, ?2, ?3, ?4)
on conflict (consumer_group, identity)
do update set crashes = antiphon_suspects.crashes + excluded.crashes, found_at = excluded.found_at;

-- name: suspects
select identity, crashes, found_at from antiphon_suspects where consumer_group = ?;

-- name: clear
delete from antiphon_suspects where consumer_group = ? and identity = ?;

-- name: forget
delete from antiphon_suspects where consumer_group = ? and found_at < ?;
