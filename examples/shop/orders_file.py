"""Which orders does a CSV file hold, in either of the two forms that shops export?

One row an invoice, `InvoiceNo,InvoiceDate,CustomerID,TotalPrice`, or one row a line of an invoice,
`InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country`; the header says which.
What is no order is handed to `refuse` and the rest goes on. A file of any size takes the memory of one invoice,
and of every invoice number, since an invoice counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import BinaryIO, TypeVar

from examples.shop import fields
from examples.shop.catalog import items_of
from examples.shop.order import Item, Order, merged
from examples.shop.refusals import Reason, Refusal, RefusedError, shown
from examples.shop.rows import Row, read_rows

INVOICE_FORM = ("InvoiceNo", "InvoiceDate", "CustomerID", "TotalPrice")
LINE_FORM = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")

Refuse = Callable[[Refusal], None]
T = TypeVar("T")


def read_orders(
    file: BinaryIO, name: str, refuse: Refuse, name_product: Callable[[str, str], None] | None = None
) -> Iterator[Order]:
    """The orders of a file, in its order; `name_product` hears the names of products that the file tells.

    Raises OSError when the file cannot be read; whatever is wrong inside it goes to `refuse`, with `name`.
    """
    rows = read_rows(file)
    try:
        header = _header(next(rows, None))
    except RefusedError as error:
        refuse(Refusal(name, 1, error.column, error.reason, error.found))
        return
    if "StockCode" in header:
        yield from _Lines(name, header, refuse, name_product).orders(rows)
    else:
        yield from _Invoices(name, header, refuse).orders(rows)


def _header(row: Row | None) -> tuple[str, ...]:
    """The columns, when they are those of one of the forms. Raises RefusedError: then no row can be read."""
    if row is None:
        raise RefusedError(Reason.EMPTY_FILE, "there is no header")
    if row.problem:
        raise row.problem
    form = LINE_FORM if "StockCode" in row.fields else INVOICE_FORM
    missing = [column for column in form if column not in row.fields]
    if len(missing) == len(form):
        found = shown(",".join(row.fields))
        raise RefusedError(Reason.UNKNOWN_HEADER, f"{found}; it should be {','.join(form)}")
    if missing:
        raise RefusedError(Reason.MISSING_COLUMN, "the header does not name it", missing[0])
    return tuple(row.fields)


class _Reader:
    """What both forms share: rows to named fields, refusing, and telling an invoice seen before."""

    def __init__(self, file: str, header: tuple[str, ...], refuse: Refuse) -> None:
        self._file, self._header, self._refuse = file, header, refuse
        self._seen: set[str] = set()

    def named(self, row: Row) -> Mapping[str, str]:
        """The fields of a row by column. Raises RefusedError."""
        if row.problem:
            raise self._with_name(row.problem)
        if len(row.fields) < len(self._header):
            raise RefusedError(
                Reason.MISSING_COLUMN,
                f"the row has {len(row.fields)} of {len(self._header)} columns",
                self._header[len(row.fields)],
            )
        if len(row.fields) > len(self._header):
            raise RefusedError(
                Reason.TOO_MANY_COLUMNS, f"the row has {len(row.fields)}, the header names {len(self._header)}"
            )
        return dict(zip(self._header, row.fields, strict=True))

    def _with_name(self, problem: RefusedError) -> RefusedError:
        """The same problem, with the name of the column that was only known by its number."""
        _, _, digits = problem.column.partition("number ")
        if digits and int(digits) <= len(self._header):
            return RefusedError(problem.reason, problem.found, self._header[int(digits) - 1])
        return problem

    def refuse(self, line: int, error: RefusedError) -> None:
        self._refuse(Refusal(self._file, line, error.column, error.reason, error.found))

    def open_invoice(self, invoice: str) -> None:
        """Take this invoice as begun. Raises RefusedError when it was begun before."""
        if invoice in self._seen:
            raise RefusedError(Reason.DUPLICATE, f"{shown(invoice)} came before", "InvoiceNo")
        self._seen.add(invoice)


def _field(row: Mapping[str, str], column: str, read: Callable[[str], T]) -> T:
    try:
        return read(row[column])
    except RefusedError as error:
        raise RefusedError(error.reason, error.found, column) from error


class _Invoices(_Reader):
    """One row an invoice; what was bought is derived from the invoice's number."""

    def orders(self, rows: Iterator[Row]) -> Iterator[Order]:
        for row in rows:
            try:
                yield self._order(self.named(row))
            except RefusedError as error:
                self.refuse(row.line, error)

    def _order(self, row: Mapping[str, str]) -> Order:
        invoice = _field(row, "InvoiceNo", fields.invoice)
        order = Order(
            order_id=invoice,
            customer_id=_field(row, "CustomerID", fields.customer),
            placed_on=_field(row, "InvoiceDate", fields.day),
            pence=_field(row, "TotalPrice", fields.total),
            items=items_of(invoice),
        )
        self.open_invoice(invoice)
        return order


class _Invoice:
    """The lines of one invoice while they are being read."""

    def __init__(self, order_id: str, customer_id: str, placed_on: date, line: int) -> None:
        self.order_id, self.customer_id, self.placed_on, self.line = order_id, customer_id, placed_on, line
        self.pence = 0
        self.items: list[Item] = []

    def order(self) -> Order:
        if self.pence == 0:
            raise RefusedError(Reason.NOTHING, f"the lines of {shown(self.order_id)} cost nothing", "UnitPrice")
        return Order(self.order_id, self.customer_id, self.placed_on, self.pence, merged(self.items))


class _Lines(_Reader):
    """One row a line of an invoice; the lines of an invoice stand together."""

    def __init__(
        self,
        file: str,
        header: tuple[str, ...],
        refuse: Refuse,
        name_product: Callable[[str, str], None] | None,
    ) -> None:
        super().__init__(file, header, refuse)
        self._name_product = name_product
        self._invoice: _Invoice | None = None

    def orders(self, rows: Iterator[Row]) -> Iterator[Order]:
        for row in rows:
            try:
                finished = self._take(row.line, self.named(row))
            except RefusedError as error:
                self.refuse(row.line, error)
            else:
                yield from self._closed(finished)
        yield from self._closed(self._invoice)

    def _take(self, line: int, row: Mapping[str, str]) -> _Invoice | None:
        """Add one line to its invoice; returns the invoice before it when this line begins another."""
        order_id = _field(row, "InvoiceNo", fields.invoice)
        customer_id = _field(row, "CustomerID", fields.customer)
        placed_on = _field(row, "InvoiceDate", fields.day)
        item = Item(_field(row, "StockCode", fields.name), _field(row, "Quantity", fields.pieces))
        price = _field(row, "UnitPrice", lambda text: fields.number(text, fields.MOST_POUNDS))
        before = None
        if self._invoice is None or self._invoice.order_id != order_id:
            self.open_invoice(order_id)
            before, self._invoice = self._invoice, _Invoice(order_id, customer_id, placed_on, line)
        self._invoice.items.append(item)
        self._invoice.pence += fields.pence(price * Decimal(item.quantity))
        if self._name_product:
            self._name_product(item.sku, row["Description"])
        return before

    def _closed(self, invoice: _Invoice | None) -> Iterator[Order]:
        if invoice is None:
            return
        try:
            yield invoice.order()
        except RefusedError as error:
            self.refuse(invoice.line, error)
