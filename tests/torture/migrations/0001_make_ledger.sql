-- No unique key: a double effect must be able to happen to be seen.
create table ledger (order_id text not null) strict;
