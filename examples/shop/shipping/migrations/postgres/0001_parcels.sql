-- Every parcel that was packed, and whether it left.
create table shipping_parcels (
    order_id text not null,
    outcome text not null check (outcome in ('dispatched', 'undeliverable')),
    grams bigint not null check (grams > 0),
    packed_at timestamptz not null default now()
);
