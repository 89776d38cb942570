-- What is on the shelves now, what each order asks for, and every movement that led here.
create table inventory_stock (
    sku text primary key,
    available bigint not null check (available >= 0)
);

create table inventory_requests (
    order_id text not null,
    sku text not null,
    quantity bigint not null check (quantity > 0)
);
create index inventory_requests_by_order on inventory_requests (order_id);

create table inventory_movements (
    order_id text not null,
    sku text not null,
    kind text not null check (kind in ('received', 'reserved', 'released', 'shipped')),
    quantity bigint not null check (quantity >= 0),
    moved_at timestamptz not null default now()
);
