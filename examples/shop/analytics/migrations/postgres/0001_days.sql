-- The read model: one row a day and outcome. Adding to it is not idempotent; that each event counts once is the inbox's.
create table analytics_days (
    day text not null,
    outcome text not null check (outcome in ('placed', 'confirmed', 'cancelled')),
    orders bigint not null,
    pence bigint not null,
    primary key (day, outcome)
);
