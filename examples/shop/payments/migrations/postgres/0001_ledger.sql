-- Every movement of money. What was captured may be refunded later; then both entries stand.
-- `written` is the transaction's number: whoever follows along reads up to the oldest one that is still open.
create table payments_ledger (
    order_id text not null,
    entry text not null check (entry in ('authorised', 'declined', 'captured', 'released', 'refunded')),
    pence bigint not null check (pence > 0),
    entered_at timestamptz not null default now(),
    written bigint not null default pg_current_xact_id()::text::bigint
);
create index payments_ledger_by_order on payments_ledger (order_id);
create index payments_ledger_by_writing on payments_ledger (written);
