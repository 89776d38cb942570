-- Every movement of money. What was captured may be refunded later; then both entries stand.
create table payments_ledger (
    order_id text not null,
    entry text not null check (entry in ('authorised', 'declined', 'captured', 'released', 'refunded')),
    pence integer not null check (pence > 0),
    entered_at text not null default current_timestamp
);
create index payments_ledger_by_order on payments_ledger (order_id);
