-- No unique key: a double effect must be able to happen to be seen. One table, since every service brings it.
create table if not exists entries (service text not null, order_id text not null) strict;
