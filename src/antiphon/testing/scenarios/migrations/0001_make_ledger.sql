create table if not exists ledger (order_id text not null, number integer not null);

create table if not exists accounts (id text primary key) without rowid;

create table if not exists bookings (
    account text not null references accounts (id) deferrable initially deferred
);
