-- What people do to dead letters: redrives of many at once, and who changed or dropped which.

-- `state` is 0 while it runs, 1 when it was stopped, 2 when it is done. `released` counts those that were let go, `gone`
-- those that left it unhandled, since they were dropped or taken by another redrive. Up to `canaries_until` released ones
-- are canaries. `failures_before` had failed when it was last resumed. `spacing` lies between two releases and `next_at`
-- is the first moment for the next one, both in microseconds. `step` grows with each change, so that each is made once.
create table antiphon_redrives (
    number integer primary key,
    id text not null unique,
    started_at text not null,
    started_by text not null,
    state integer not null default 0,
    total integer not null,
    released integer not null default 0,
    gone integer not null default 0,
    canaries integer not null,
    canaries_until integer not null,
    stop_after integer not null,
    failures_before integer not null default 0,
    spacing integer not null,
    next_at integer not null,
    step integer not null default 0,
    ended_at text,
    note text not null default ''
);

create index antiphon_redrives_running on antiphon_redrives (number) where state = 0;

-- The letters, by their numbers in antiphon_set_aside, that wait for their turn in a redrive. Their own rows are long, and
-- are written only when they are let go.
create table antiphon_redrive_letters (
    letter integer primary key,
    redrive text not null
);

create index antiphon_redrive_letters_by_redrive on antiphon_redrive_letters (redrive, letter);

-- `kind` is edit, revert or drop. `before` and `after` are messages in JSON; a dropped letter leaves its diagnosis, too.
create table antiphon_letter_changes (
    number integer primary key,
    letter text not null,
    consumer_group text not null,
    kind text not null,
    changed_at text not null,
    changed_by text not null,
    before text not null,
    after text,
    diagnosis text
);

create index antiphon_letter_changes_by_letter on antiphon_letter_changes (letter, number);

create index antiphon_letter_changes_dropped on antiphon_letter_changes (number) where kind = 'drop';
