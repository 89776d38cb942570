-- Messages that wait for the moment at which they are to be published.

-- `id` is what tells the message from every other; `message` is JSON, of so many `bytes`. `due_at` and `held_until` are
-- in microseconds since 1970. Who has one in hand is named by `token`, and nobody else takes it before `held_until`;
-- it is `in_doubt` when it was in hand and nobody can say whether it was published. One that was refused for good has a
-- `failure` and is not tried again. Those of one moment go by `number`.
create table antiphon_scheduled (
    number integer primary key,
    id text not null unique,
    service text not null,
    topic text not null,
    key text,
    message_type text not null,
    bytes integer not null,
    due_at integer not null,
    held_until integer not null default 0,
    token text not null default '',
    in_doubt integer not null default 0,
    tries integer not null default 0,
    failure text,
    message text not null
);

create index antiphon_scheduled_due on antiphon_scheduled (due_at, number, held_until) where failure is null;

create index antiphon_scheduled_held on antiphon_scheduled (topic, key, held_until) where held_until > 0;
