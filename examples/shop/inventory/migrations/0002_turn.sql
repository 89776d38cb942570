-- One row, which whoever decides by the stock changes first: where many write at once, the others wait for it.
create table inventory_turn (
    taken bigint not null
);
insert into inventory_turn (taken) values (0);
