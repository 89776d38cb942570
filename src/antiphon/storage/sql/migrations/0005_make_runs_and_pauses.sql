-- Which services run in which processes, which messages may have killed one, and which topics are paused.

-- `process` is the process's number and the moment it began, as its machine knows it; `host` the machine since it
-- started. `beat_at` is in microseconds since 1970. `working` is a JSON list of the messages being attempted, written
-- before they are while somebody is careful; `alone` says that nothing else was attempted in that process meanwhile.
create table antiphon_runs (
    id text primary key,
    consumer_group text not null,
    service text not null,
    host text not null,
    pid integer not null,
    process text not null,
    started_at text not null,
    beat_at integer not null,
    working text not null default '[]',
    alone integer not null default 0,
    status text not null default '{}'
) without rowid;

create index antiphon_runs_by_group on antiphon_runs (consumer_group);

-- `crashes` counts the processes that died while this message was attempted alone. The row without an identity says
-- when a process of the group was last found dead.
create table antiphon_suspects (
    consumer_group text not null,
    identity text not null,
    crashes integer not null,
    found_at integer not null,
    primary key (consumer_group, identity)
) without rowid;

create table antiphon_topic_pauses (
    consumer_group text not null,
    topic text not null,
    reason text not null,
    paused_by text not null,
    since text not null,
    primary key (consumer_group, topic)
) without rowid;
