create table ledger (order_id text not null, pence integer not null);
