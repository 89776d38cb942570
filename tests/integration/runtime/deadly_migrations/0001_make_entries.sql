create table entries (order_id text not null) strict;
