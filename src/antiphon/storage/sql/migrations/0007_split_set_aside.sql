-- What is long of a message set aside gets a table of its own, since everything that happens to one rewrites its row.

alter table antiphon_set_aside rename to antiphon_whole_set_aside;

-- As before, but for `tried`: how many attempts there are in its body. The columns that a step on its way changes or asks
-- for are here; `antiphon_set_aside_bodies` has the rest.
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
    reason text not null,
    fingerprint text not null,
    code_version text not null,
    since text not null,
    tried integer not null,
    forgiven integer not null default 0,
    redrive text,
    redrive_state integer not null default 0
);

-- Of each message set aside, by its number there: `message`, `edited` and `attempts` are JSON.
create table antiphon_set_aside_bodies (
    item integer primary key,
    message text not null,
    edited text,
    attempts text not null
);

insert into antiphon_set_aside (
    number, id, consumer_group, service, handler, topic, partition, position, lane, state, due_at, token, held_until,
    message_id, message_type, reason, fingerprint, code_version, since, tried, forgiven, redrive, redrive_state
)
select
    number, id, consumer_group, service, handler, topic, partition, position, lane, state, due_at, token, held_until,
    message_id, message_type, reason, fingerprint, code_version, since, json_array_length(attempts), forgiven, redrive,
    redrive_state
from antiphon_whole_set_aside;

insert into antiphon_set_aside_bodies (item, message, edited, attempts)
select number, message, edited, attempts from antiphon_whole_set_aside;

drop table antiphon_whole_set_aside;

-- Whoever deletes one, its body goes with it: numbers are given again.
create trigger antiphon_set_aside_gone after delete on antiphon_set_aside begin
    delete from antiphon_set_aside_bodies where item = old.number;
end;

create index antiphon_set_aside_due on antiphon_set_aside (consumer_group, due_at) where state = 0 and token is null;

create index antiphon_set_aside_claims on antiphon_set_aside (consumer_group, held_until) where token is not null;

create index antiphon_set_aside_behind on antiphon_set_aside (consumer_group) where state = 1;

create index antiphon_set_aside_lanes on antiphon_set_aside (consumer_group, topic, lane, number)
where lane is not null;

create index antiphon_set_aside_parked on antiphon_set_aside
(consumer_group, fingerprint, handler, reason, message_type, since) where state = 2;

create index antiphon_set_aside_redrives on antiphon_set_aside (redrive, redrive_state) where redrive is not null;
