-- Groups: their members, their watermarks, and the leases that fence them.

-- name: make_group
insert into antiphon_log_groups (name) values (?) on conflict do nothing;

-- name: group_id
select id from antiphon_log_groups where name = ?;

-- name: group_names
select name from antiphon_log_groups order by name;

-- name: make_cursor_at_start
insert into antiphon_log_cursors (group_id, partition_id, position)
select ?1, id, floor from antiphon_log_partitions where id = ?2
on conflict do nothing;

-- name: make_cursor_at_end
insert into antiphon_log_cursors (group_id, partition_id, position)
select ?1, id, head from antiphon_log_partitions where id = ?2
on conflict do nothing;

-- name: join
insert into antiphon_log_members (group_id, name, token, topics, heard) values (?, ?, ?, ?, ?) returning id;

-- name: return_member
insert into antiphon_log_members (id, group_id, name, token, topics, heard) values (?, ?, ?, ?, ?, ?)
on conflict (id) do update set heard = excluded.heard;

-- name: members
select id, token, topics, heard from antiphon_log_members where group_id = ?;

-- name: tokens_of
select m.name, m.token from antiphon_log_members m join antiphon_log_groups g on g.id = m.group_id where g.name = ?;

-- name: all_tokens
select token from antiphon_log_members;

-- name: remove_member
delete from antiphon_log_members where id = ?;

-- name: forget_silent
delete from antiphon_log_members where group_id = ? and heard < ?;

-- name: leave
update antiphon_log_cursors set owner = null where group_id = ? and owner = ?;

-- name: leases
select partition_id, owner, epoch, expires, position from antiphon_log_cursors where group_id = ?;

-- name: claim
update antiphon_log_cursors set owner = ?3, epoch = ?4, expires = ?5 where group_id = ?1 and partition_id = ?2;

-- name: renew
update antiphon_log_cursors set expires = ?3 where group_id = ?1 and owner = ?2;

-- name: give_up
update antiphon_log_cursors set owner = null
where group_id = ?1 and partition_id = ?2 and owner = ?3 and epoch = ?4;

-- name: change_generation
update antiphon_log_groups set generation = generation + 1 where id = ?;

-- name: generation
select generation from antiphon_log_groups where id = ?;

-- name: news
select p.id, p.head, p.floor, p.largest, c.epoch
from antiphon_log_cursors c join antiphon_log_partitions p on p.id = c.partition_id
where c.group_id = ? and c.owner = ?;

-- name: commit
update antiphon_log_cursors set position = max(position, ?5)
where group_id = ?1 and partition_id = ?2 and owner = ?3 and epoch = ?4
returning partition_id;

-- name: owns
select 1 from antiphon_log_cursors
where group_id = ?1 and partition_id = ?2 and owner = ?3 and epoch = ?4;

-- name: skip
update antiphon_log_cursors set position = max(position, ?5), skipped = skipped + ?6
where group_id = ?1 and partition_id = ?2 and owner = ?3 and epoch = ?4;

-- name: seek
insert into antiphon_log_cursors (group_id, partition_id, position) values (?1, ?2, ?3)
on conflict do update set position = excluded.position, epoch = epoch + 1;

-- name: lag
select t.name, p.number, c.position, p.head, p.floor, m.name, c.skipped,
    (select arrived from antiphon_log_messages where place = (p.id << 40) | (max(c.position, p.floor) + 1))
from antiphon_log_groups g
join antiphon_log_cursors c on c.group_id = g.id
join antiphon_log_partitions p on p.id = c.partition_id
join antiphon_log_topics t on t.id = p.topic_id
left join antiphon_log_members m on m.id = c.owner and c.expires > ?2
where g.name = ?1
order by t.name, p.number;

-- name: floor_and_head
select p.id, p.number, p.floor, p.head
from antiphon_log_topics t join antiphon_log_partitions p on p.topic_id = t.id
where t.name = ?
order by p.number;
