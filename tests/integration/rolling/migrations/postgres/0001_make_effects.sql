-- As PostgreSQL says it.
create table if not exists effects (
    number bigserial primary key,
    service text not null,
    version integer not null,
    customer text not null,
    what integer not null,
    published double precision not null,
    handled double precision not null
);
