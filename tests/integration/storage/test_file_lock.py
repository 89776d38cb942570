"""Whoever released the lock queues behind whoever waits, so that nobody is starved."""

import threading
import time

import pytest

from antiphon.storage.sqlite.file_lock import FileLock


@pytest.fixture
def locks(path):
    locks = [FileLock() for _ in range(3)]
    for lock in locks:
        lock.open(str(path))
    yield locks
    for lock in locks:
        lock.close()


def wait_until(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def is_waited_for(lock):
    if lock._try_flock(lock._head):
        lock._unlock(lock._head)
        return False
    return True


def test_one_holds_it_at_a_time(locks):
    one, other, _ = locks
    assert one.try_acquire()
    assert not other.try_acquire()
    one.release()
    assert other.try_acquire()


def test_who_waits_comes_before_who_just_released_it(locks):
    holder, waiter, passer = locks
    assert holder.try_acquire()
    arrived = []
    thread = threading.Thread(target=lambda: (waiter.acquire(), arrived.append(True)))
    thread.start()
    wait_until(lambda: is_waited_for(passer))
    holder.release()
    assert not holder.try_acquire()
    thread.join()
    assert arrived
    assert not holder.try_acquire()
    waiter.release()
    assert holder.try_acquire()


def test_closing_gives_it_up_and_twice_is_safe(locks):
    one, other, _ = locks
    assert one.try_acquire()
    one.release()
    one.release()
    assert one.try_acquire()
    one.close()
    one.close()
    assert other.try_acquire()
