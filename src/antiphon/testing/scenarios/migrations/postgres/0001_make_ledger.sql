-- As on SQLite, where every table has a rowid that says in which order its rows were written.
create table if not exists ledger (
    order_id text not null, number bigint not null, rowid bigint generated always as identity
);

create table if not exists accounts (id text primary key);

create table if not exists bookings (
    account text not null references accounts (id) deferrable initially deferred
);
