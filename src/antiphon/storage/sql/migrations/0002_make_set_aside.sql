-- Messages taken out of the flow: put off for a retry, behind another of their key, or given up.

-- `state` is 0 for one that is tried again at `due_at`, 1 for one behind another of its lane, 2 for a parked one. The
-- lowest number of a lane is its head; the others wait for it. `due_at` and `held_until` are in microseconds since
-- 1970; `token` says who has it in hand. The first `forgiven` attempts count no more since it was sent again. `message`, `edited` and `attempts` are JSON; `id` follows from group,
-- handler, message and position, so that setting aside twice is once.
create table antiphon_set_aside (
    number integer primary key,
    id text not null unique,
    consumer_group text not null,
    service text not null,
    handler text not null,
    topic text not null,
    partition integer not null,
    position text not null,
    lane text,
    state integer not null,
    due_at integer not null,
    token text,
    held_until integer not null default 0,
    message_id text not null,
    message_type text not null,
    message text not null,
    edited text,
    attempts text not null,
    reason text not null,
    fingerprint text not null,
    code_version text not null,
    since text not null,
    forgiven integer not null default 0,
    redrive text,
    redrive_state integer not null default 0
);

create index antiphon_set_aside_due on antiphon_set_aside (consumer_group, due_at) where state = 0;

create index antiphon_set_aside_behind on antiphon_set_aside (consumer_group) where state = 1;

create index antiphon_set_aside_claims on antiphon_set_aside (token) where token is not null;

create index antiphon_set_aside_lanes on antiphon_set_aside (consumer_group, topic, lane, number)
where lane is not null;

create index antiphon_set_aside_parked on antiphon_set_aside
(consumer_group, fingerprint, handler, reason, message_type, since) where state = 2;

create index antiphon_set_aside_redrives on antiphon_set_aside (redrive, redrive_state) where redrive is not null;

insert into antiphon_set_aside (
    number, id, consumer_group, service, handler, topic, partition, position, state, due_at,
    message_id, message_type, message, attempts, reason, fingerprint, code_version, since
)
select
    number, id, consumer_group, service, handler, topic, partition, position, 2, 0,
    message_id, message_type, message, attempts, reason, reason, code_version, parked_at
from antiphon_dead_letters;

drop table antiphon_dead_letters;
