-- Every row is an effect, in the order in which the effects happened; nothing forbids one twice. Times are in seconds.
create table if not exists effects (
    number integer primary key,
    service text not null,
    version integer not null,
    customer text not null,
    what integer not null,
    published real not null,
    handled real not null
);
