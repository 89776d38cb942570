create table ledger (order_id text not null, pence bigint not null);
