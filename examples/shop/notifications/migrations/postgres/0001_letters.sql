-- Every letter that customers got.
create table notifications_letters (
    order_id text not null,
    customer_id text not null,
    occasion text not null check (occasion in ('confirmed', 'cancelled', 'dispatched')),
    text text not null,
    sent_at timestamptz not null default now()
);
