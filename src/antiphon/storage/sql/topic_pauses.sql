-- Topics that an operator paused for a group, until they are resumed.

-- name: pause
insert into antiphon_topic_pauses (consumer_group, topic, reason, paused_by, since) values (?, ?, ?, ?, ?)
on conflict (consumer_group, topic) do update set reason = excluded.reason, paused_by = excluded.paused_by;

-- name: resume
delete from antiphon_topic_pauses where consumer_group = ? and topic = ? returning topic;

-- name: pauses
select consumer_group, topic, reason, paused_by, since from antiphon_topic_pauses
where (cast(?1 as text) is null or consumer_group = ?1) order by consumer_group, topic;
