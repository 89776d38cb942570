"""Are the services of the shop strangers: does none import another, and none touch another's tables?"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.shop.processes import SERVICES

SHOP = Path(__file__).parents[3] / "examples" / "shop"
TABLE = re.compile(
    r"\b(?:from|join|into|update|table(?:\s+if\s+not\s+exists)?|index\s+\w+\s+on)\s+([a-z_]\w*)", re.IGNORECASE
)
STATEMENT = re.compile(r"\s*(?:--.*\n|\s)*(?:select|insert|update|delete|create|with)\b", re.IGNORECASE)


def imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "services import by full name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def strangers(service: str, source: str) -> list[str]:
    own = f"examples.shop.{service}."
    return [name for name in imports(source) if name.startswith("examples.") and not name.startswith(own)]


def statements(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and STATEMENT.match(node.value):
            yield node.value


def tables(sql: str) -> set[str]:
    return set(TABLE.findall(sql)) - {"set"}


def sources(service: str) -> list[str]:
    found = [path.read_text("utf-8") for path in sorted((SHOP / service).rglob("*.py"))]
    assert found
    return found


@pytest.mark.parametrize("service", [*SERVICES, "storefront"])
def test_no_service_imports_another(service: str) -> None:
    allowed = {"examples.shop.order", "examples.shop.catalog"} if service == "storefront" else set()
    found = [name for source in sources(service) for name in strangers(service, source)]
    assert [name for name in found if name.rpartition(".")[0] not in allowed] == []


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_touches_the_tables_of_another(service: str) -> None:
    written = [statement for source in sources(service) for statement in statements(source)]
    written += [path.read_text("utf-8") for path in (SHOP / service / "migrations").rglob("*.sql")]
    touched = {table for statement in written for table in tables(statement)}
    assert touched, "every service keeps something"
    assert {table for table in touched if not table.startswith(f"{service}_")} == set()


def test_an_import_of_another_service_is_found() -> None:
    assert strangers("orders", "def f():\n    from examples.shop.payments import service") == [
        "examples.shop.payments.service"
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "select 1 from orders_states",
        "insert into orders_states (a) values (1)",
        "update orders_states set a = 1",
        "select 1 from payments_ledger left join orders_states on true",
        "create index x on orders_states (a)",
        "delete from orders_states",
    ],
)
def test_a_table_of_another_service_is_found(sql: str) -> None:
    [statement] = statements(f"SQL = {sql!r}")
    assert "orders_states" in tables(statement)
