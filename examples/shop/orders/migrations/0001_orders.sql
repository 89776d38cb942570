-- Orders as they were placed, and every state each has been in.
create table orders_orders (
    order_id text not null,
    customer_id text not null,
    placed_on text not null,
    pence integer not null,
    items text not null
);
create index orders_orders_by_id on orders_orders (order_id);

create table orders_states (
    order_id text not null,
    state text not null check (state in ('placed', 'confirmed', 'shipped', 'declined', 'out of stock', 'cancelled')),
    entered_at text not null default current_timestamp
);
