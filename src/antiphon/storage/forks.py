"""What must a forked child not hold on to? Locks on files, which would outlive the process that took them."""

from __future__ import annotations

import os
import sys
from typing import Protocol
from weakref import WeakSet


class Holder(Protocol):
    """Somebody with open files whose locks belong to this process alone."""

    def forget(self) -> None:
        """Close what was inherited. It leaves the parent's locks, and what lies in the folder, as they are."""
        ...


_holders: WeakSet[Holder] = WeakSet()


def forget_in_children(holder: Holder) -> None:
    """Call `holder.forget()` in every child that is forked from now on, such as those of a pool of processes.

    The system frees a lock once every process that inherited its file is gone. A killed service would keep the
    others waiting for as long as a child of it lives.
    """
    _holders.add(holder)


def _forget_all() -> None:
    for holder in _holders:
        holder.forget()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_all)
