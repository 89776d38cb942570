"""Which statements does the inventory run? One each for all products of an order, so a large order costs no more."""

from __future__ import annotations

TAKE_TURN = "update inventory_turn set taken = taken + 1"
"""First of all, by whoever decides by the stock or changes it: SQLite has one writer anyway, PostgreSQL many."""

SHELVE = """
insert into inventory_stock (sku, available) values (?, ?)
on conflict (sku) do update set available = inventory_stock.available + excluded.available
"""

RECEIVE = "insert into inventory_movements (order_id, sku, kind, quantity) values ('', ?, 'received', ?)"

REMEMBER = "insert into inventory_requests (order_id, sku, quantity) values (?, ?, ?)"

SHORT = """
select wanted.sku from inventory_requests wanted left join inventory_stock on inventory_stock.sku = wanted.sku
where wanted.order_id = ? and coalesce(available, 0) < wanted.quantity limit 1
"""
"""A product of which there is too little."""

TAKE = """
update inventory_stock set available = available - wanted.quantity
from inventory_requests wanted where wanted.order_id = ? and wanted.sku = inventory_stock.sku
"""

PUT_BACK = """
update inventory_stock set available = available + wanted.quantity
from inventory_requests wanted where wanted.order_id = ? and wanted.sku = inventory_stock.sku
"""

MOVE = """
insert into inventory_movements (order_id, sku, kind, quantity)
select order_id, sku, ?, quantity from inventory_requests where order_id = ?
"""
