-- The log: topics of partitions, their messages, and how far each group has read them.
-- Moments are microseconds since 1970 in UTC. Offsets count from 1 in each partition and leave no gap.

create table antiphon_log_topics (
    id integer primary key,
    name text not null unique,
    keep_for integer,
    keep_bytes integer
) strict;

create table antiphon_log_partitions (
    id integer primary key,
    topic_id integer not null,
    number integer not null,
    head integer not null default 0,
    floor integer not null default 0,
    bytes integer not null default 0,
    largest integer not null default 0,
    arrived integer not null default 0,
    unique (topic_id, number)
) strict;

-- `place` is (partition id << 40) | offset: one b-tree, each partition a range of it in order of offset. `rest` is
-- the rest of the envelope, a MessagePack array that begins with the message's own time.
create table antiphon_log_messages (
    place integer primary key,
    id text not null,
    type text not null,
    key text,
    arrived integer not null,
    data blob,
    rest blob not null
) strict;

create table antiphon_log_groups (
    id integer primary key,
    name text not null unique,
    generation integer not null default 0
) strict;

create table antiphon_log_members (
    id integer primary key autoincrement,
    group_id integer not null,
    name text not null,
    token text not null,
    topics text not null,
    heard integer not null
) strict;

-- A group's watermark in a partition and the lease on reading it, in one row, so that one update moves and fences.
create table antiphon_log_cursors (
    group_id integer not null,
    partition_id integer not null,
    position integer not null,
    epoch integer not null default 0,
    owner integer,
    expires integer not null default 0,
    skipped integer not null default 0,
    primary key (group_id, partition_id)
) strict, without rowid;
