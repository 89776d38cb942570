-- Orders as they were placed, and every state each has been in.
create table orders_orders (
    order_id text not null,
    customer_id text not null,
    placed_on text not null,
    pence bigint not null,
    items text not null
);
create index orders_orders_by_id on orders_orders (order_id);

-- `written` is the transaction's number: whoever follows along reads up to the oldest one that is still open.
create table orders_states (
    order_id text not null,
    state text not null check (state in ('placed', 'confirmed', 'shipped', 'declined', 'out of stock', 'cancelled')),
    entered_at timestamptz not null default now(),
    written bigint not null default pg_current_xact_id()::text::bigint
);
create index orders_states_by_order on orders_states (order_id);
create index orders_states_by_writing on orders_states (written);
