-- The tables that every store has: what was handled, what was given up, and what others' entities look like.

create table antiphon_inbox_consumers (
    number integer primary key,
    consumer text not null,
    generation integer not null default 1,
    unique (consumer, generation)
);

-- A mark is the message's id under its consumer's number; `marked_at` is in seconds since 1970, for retention.
create table antiphon_inbox (
    consumer integer not null,
    id text not null,
    marked_at integer not null,
    primary key (consumer, id)
) without rowid;
