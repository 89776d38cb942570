-- Groups: their members, their watermarks, and the leases that fence them. Rows of cursors are locked in the order of
-- their partitions, and before any end of a partition.

-- name: make_group
insert into antiphon_log_groups (name) values (?1) on conflict (name) do nothing;

-- name: group_id
select id from antiphon_log_groups where name = ?1;

-- name: group_names
select name from antiphon_log_groups order by name;

-- name: make_cursors
insert into antiphon_log_cursors (group_id, partition_id, position)
select ?1, p.id, case when ?3 then h.head else f.floor end
from antiphon_log_topics t
join antiphon_log_partitions p on p.topic_id = t.id
join antiphon_log_heads h on h.partition_id = p.id
join antiphon_log_floors f on f.partition_id = p.id
where t.name = any(cast(?2 as text[]))
order by p.id
on conflict do nothing;

-- name: join
insert into antiphon_log_members (group_id, name, topics, silent_at)
values (?1, ?2, ?3, cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) + ?4)
returning id;

-- name: beat
insert into antiphon_log_members (id, group_id, name, topics, silent_at)
values (?1, ?2, ?3, ?4, cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) + ?5)
on conflict (id) do update set silent_at = excluded.silent_at;

-- name: forget_silent
-- One that is being written now is not silent any more.
delete from antiphon_log_members where id = any(array(
    select id from antiphon_log_members
    where group_id = ?1 and silent_at < cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) - ?2
    for update skip locked
));

-- name: leave
with mine as (
    select partition_id from antiphon_log_cursors where group_id = ?1 and owner = ?2 order by partition_id for update
), gone as (
    delete from antiphon_log_members where id = ?2
)
update antiphon_log_cursors c set owner = null from mine where c.group_id = ?1 and c.partition_id = mine.partition_id;

-- name: look
-- What there is to know of a group at one moment: time and generation, its members, its cursors.
select 0, cast(extract(epoch from clock_timestamp()) * 1000000 as bigint), g.generation,
    cast(null as bigint), cast(null as bigint), cast(null as text)
from antiphon_log l, antiphon_log_groups g where l.id = ?2 and g.id = ?1
union all
select 1, m.id, m.silent_at, null, null, m.topics from antiphon_log_members m where m.group_id = ?1
union all
select 2, c.partition_id, c.owner, c.epoch, c.position, null from antiphon_log_cursors c where c.group_id = ?1;

-- name: cursors
select partition_id, owner, epoch, position from antiphon_log_cursors where group_id = ?1;

-- name: claim
-- One whose former owner commits right now is left for the next look.
with free as (
    select c.partition_id from antiphon_log_cursors c
    join unnest(cast(?3 as bigint[]), cast(?4 as bigint[])) as f (id, epoch) on c.partition_id = f.id and c.epoch = f.epoch
    where c.group_id = ?1 order by c.partition_id for update of c skip locked
)
update antiphon_log_cursors c set owner = ?2, epoch = c.epoch + 1
from free where c.group_id = ?1 and c.partition_id = free.partition_id;

-- name: give_up
-- One that a transaction settles right now is left for the next look.
with mine as (
    select c.partition_id from antiphon_log_cursors c
    join unnest(cast(?3 as bigint[]), cast(?4 as bigint[])) as f (id, epoch) on c.partition_id = f.id and c.epoch = f.epoch
    where c.group_id = ?1 and c.owner = ?2 order by c.partition_id for update of c skip locked
)
update antiphon_log_cursors c set owner = null
from mine where c.group_id = ?1 and c.partition_id = mine.partition_id;

-- name: change_generation
update antiphon_log_groups set generation = generation + 1 where id = ?1;

-- name: news
-- Of each partition that a member owns; one row without a partition when it owns none, none at all in another log.
select g.generation, c.partition_id, h.head, f.floor, h.largest, c.epoch
from antiphon_log l
join antiphon_log_groups g on g.id = ?1
left join antiphon_log_cursors c on c.group_id = g.id and c.owner = ?2
left join antiphon_log_heads h on h.partition_id = c.partition_id
left join antiphon_log_floors f on f.partition_id = c.partition_id
where l.id = ?3;

-- name: commit
-- Which of these leases still are this member's, and move the watermarks of those: never back, and not at all by 0.
with mine as (
    select c.partition_id, m.position from antiphon_log_cursors c
    join unnest(cast(?3 as bigint[]), cast(?4 as bigint[]), cast(?5 as bigint[])) as m (id, epoch, position)
        on c.partition_id = m.id and c.epoch = m.epoch
    where c.group_id = ?1 and c.owner = ?2 order by c.partition_id for update of c
), moved as (
    update antiphon_log_cursors c set position = greatest(c.position, mine.position)
    from mine where c.group_id = ?1 and c.partition_id = mine.partition_id and mine.position > 0
)
select partition_id from mine;

-- name: skip
update antiphon_log_cursors set position = greatest(position, ?5), skipped = skipped + ?6
where group_id = ?1 and partition_id = ?2 and owner = ?3 and epoch = ?4;

-- name: seek
insert into antiphon_log_cursors as c (group_id, partition_id, position)
select ?1, s.id, s.position from unnest(cast(?2 as bigint[]), cast(?3 as bigint[])) as s (id, position) order by s.id
on conflict (group_id, partition_id) do update set position = excluded.position, epoch = c.epoch + 1;

-- name: lag
select t.name, p.number, c.position, h.head, f.floor, m.name, c.skipped, (
    select arrived from antiphon_log_messages where place = (p.id << 40) | (greatest(c.position, f.floor) + 1)
), cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)
from antiphon_log_groups g
join antiphon_log_cursors c on c.group_id = g.id
join antiphon_log_partitions p on p.id = c.partition_id
join antiphon_log_topics t on t.id = p.topic_id
join antiphon_log_heads h on h.partition_id = p.id
join antiphon_log_floors f on f.partition_id = p.id
left join antiphon_log_members m
    on m.id = c.owner and m.silent_at > cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)
where g.name = ?1
order by t.name, p.number;

-- name: ends
select p.id, p.number, f.floor, h.head
from antiphon_log_topics t
join antiphon_log_partitions p on p.topic_id = t.id
join antiphon_log_heads h on h.partition_id = p.id
join antiphon_log_floors f on f.partition_id = p.id
where t.name = ?1
order by p.number;
