-- Double entry, and no unique key: a double booking must be able to happen to be seen.
create table entries (account text not null, number integer not null, pence integer not null);
