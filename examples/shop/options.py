"""What was asked for on the command line?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from errno import EINVAL
from pathlib import Path

from msgspec import Struct

from examples.shop.catalog import Demand
from examples.shop.generator import generate_orders
from examples.shop.order import Order
from examples.shop.orders_file import read_orders
from examples.shop.refusals import Refusal, Refusals


class Options(Struct, frozen=True, kw_only=True):
    """How the demo runs. `workers` is the number of processes of the busiest services, `store` as in `stores.py`.

    `broker` is the URL of one that is not the log in a file.
    """

    file: Path | None = None
    count: int = 5_000
    seed: int = 1
    workers: int = 1
    chaos: bool = False
    store: str = "log"
    broker: str | None = None


class Source:
    """Where orders come from: a file or the generator. It is read twice, to stock the shop and then to sell."""

    def __init__(self, options: Options) -> None:
        self._options = options

    @property
    def name(self) -> str:
        file = self._options.file
        return str(file) if file else f"{self._options.count:,} generated orders (seed {self._options.seed})"

    def survey(self, refusals: Refusals) -> Demand:
        """What will be asked for, and what is refused. Raises OSError."""
        demand = Demand()
        for order in self._read(refusals.add, demand.name_product):
            demand.add(order)
        return demand

    def orders(self) -> Iterator[Order]:
        """The orders once more. Raises OSError."""
        return self._read(lambda refusal: None, None)

    def _read(
        self, refuse: Callable[[Refusal], None], name_product: Callable[[str, str], None] | None
    ) -> Iterator[Order]:
        if self._options.file is None:
            yield from generate_orders(self._options.count, self._options.seed)
            return
        if self._options.file.exists() and not self._options.file.is_file():
            raise OSError(EINVAL, "it is no regular file, and it is read twice", str(self._options.file))
        with self._options.file.open("rb") as file:
            yield from read_orders(file, self._options.file.name, refuse, name_product)
