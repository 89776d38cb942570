-- Every row is an effect, in the order in which the effects happened; nothing forbids one twice.
create table if not exists effects (
    number integer primary key,
    service text not null,
    customer text not null,
    what integer not null
);
