"""Several pieces of work at once: all of it is done, or everybody stops."""

from __future__ import annotations

import threading

import pytest

import pipeline.transfer
from pipeline.transfer import Cancelled, Stop, in_parallel


def test_results_are_in_the_order_of_the_items() -> None:
    first = threading.Event()

    def work(number: int, _stop: Stop) -> int:
        if number == 0:
            assert first.wait(10)
        first.set()
        return number * number

    assert in_parallel(work, range(9)) == [number * number for number in range(9)]


def test_nothing_to_do_is_done_at_once() -> None:
    assert in_parallel(lambda item, _stop: item, []) == []


def test_an_error_stops_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[str] = []
    begun = threading.Barrier(2)

    def work(item: str, stop: Stop) -> None:
        if item in ("fails", "goes on"):
            begun.wait(10)
        if item == "fails":
            raise ZeroDivisionError("this one")
        if item == "goes on":
            try:
                while True:
                    stop.check()
            except Cancelled:
                stopped.append(item)
                raise
        stopped.append(f"began {item}")

    with pytest.raises(ZeroDivisionError, match="this one"):
        in_parallel(work, ["fails", "goes on", "later"], workers=2)
    assert stopped == ["goes on"]


def test_nobody_waits_for_a_thread_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.transfer, "_JOIN_TIMEOUT_S", 0.01)
    hangs, released = threading.Event(), threading.Event()

    def work(item: str, _stop: Stop) -> None:
        if item == "hangs":
            hangs.set()
            released.wait(10)
            return
        assert hangs.wait(10)
        raise KeyError(item)

    try:
        with pytest.raises(KeyError):
            in_parallel(work, ["hangs", "fails"])
        assert not released.is_set()
    finally:
        released.set()
