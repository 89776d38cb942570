create table reminders (order_id text not null, id text not null);
