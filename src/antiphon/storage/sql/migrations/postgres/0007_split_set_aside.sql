-- What is long of a message set aside gets a table of its own, since everything that happens to one rewrites its row.

-- Of each message set aside, by its number there: `message`, `edited` and `attempts` are JSON. It goes with its row there.
create table antiphon_set_aside_bodies (
    item bigint primary key references antiphon_set_aside (number) on delete cascade,
    message text collate "C" not null,
    edited text collate "C",
    attempts text collate "C" not null
);

insert into antiphon_set_aside_bodies (item, message, edited, attempts)
select number, message, edited, attempts from antiphon_set_aside;

-- How many attempts there are in its body.
alter table antiphon_set_aside add column tried bigint not null default 0;

update antiphon_set_aside set tried = json_array_length(attempts::json);

alter table antiphon_set_aside alter column tried drop default;

alter table antiphon_set_aside drop column message, drop column edited, drop column attempts;

drop index antiphon_set_aside_due;

drop index antiphon_set_aside_claims;

create index antiphon_set_aside_due on antiphon_set_aside (consumer_group, due_at) where state = 0 and token is null;

create index antiphon_set_aside_claims on antiphon_set_aside (consumer_group, held_until) where token is not null;
