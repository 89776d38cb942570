-- The tables that every store has: what was handled, what was given up, and what others' entities look like.

-- A consumer marks under its newest generation; a rerun begins a new one, so that old marks count no more.
create table antiphon_inbox_consumers (
    number integer primary key,
    consumer text not null,
    generation integer not null,
    unique (consumer, generation)
);

-- `marked_at` is in seconds since 1970.
create table antiphon_inbox (
    consumer integer not null,
    id text not null,
    marked_at integer not null,
    primary key (consumer, id)
) without rowid;

-- `message` and `attempts` are JSON; `id` follows from group, handler, message and position, so parking twice is once.
create table antiphon_dead_letters (
    number integer primary key,
    id text not null unique,
    consumer_group text not null,
    service text not null,
    handler text not null,
    topic text not null,
    partition integer not null,
    position text not null,
    message_id text not null,
    message_type text not null,
    message text not null,
    attempts text not null,
    reason text not null,
    code_version text not null,
    parked_at text not null
);

create index antiphon_dead_letters_by_group on antiphon_dead_letters (consumer_group, number);

create table antiphon_replicas (
    service text not null,
    entity text not null,
    key text not null,
    message_id text not null,
    time text not null,
    data blob not null,
    primary key (service, entity, key)
) without rowid;
