create table if not exists entries (number integer primary key, service text not null, order_id text not null, step integer not null) strict;

create table if not exists mended (at integer not null) strict;
