-- Which services run in which processes, which messages may have killed one, and which topics are paused.

-- `process` is the process's number and the moment it began, as its machine knows it; `host` the machine since it
-- started. `beat_at` is in microseconds since 1970. `working` is a JSON list of the messages being attempted, written
-- before they are while somebody is careful; `alone` says that nothing else was attempted in that process meanwhile.
create table antiphon_runs (
    id text collate "C" primary key,
    consumer_group text collate "C" not null,
    service text collate "C" not null,
    host text collate "C" not null,
    pid bigint not null,
    process text collate "C" not null,
    started_at text collate "C" not null,
    beat_at bigint not null,
    working text collate "C" not null default '[]',
    alone bigint not null default 0,
    status text collate "C" not null default '{}'
);

create index antiphon_runs_by_group on antiphon_runs (consumer_group);

-- `crashes` counts the processes that died while this message was attempted alone. The row without an identity says
-- when a process of the group was last found dead.
create table antiphon_suspects (
    consumer_group text collate "C" not null,
    identity text collate "C" not null,
    crashes bigint not null,
    found_at bigint not null,
    primary key (consumer_group, identity)
);

create table antiphon_topic_pauses (
    consumer_group text collate "C" not null,
    topic text collate "C" not null,
    reason text collate "C" not null,
    paused_by text collate "C" not null,
    since text collate "C" not null,
    primary key (consumer_group, topic)
);

-- Several processes write at once here, and take turns at rows of this table where what one does depends on the others.
create table antiphon_turns (
    name text collate "C" primary key,
    taken bigint not null default 0
);
