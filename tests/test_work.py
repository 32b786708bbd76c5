import ctypes
import os
import time

import pytest

from medimg.errors import ImageError, Refusal
from medimg.work import Failure, Limits, over


def _square(value):
    return value * value, os.getpid()


def _misbehave(how):
    if how == "refuse":
        raise ImageError(Refusal.CORRUPT, "does not decode")
    if how == "crash":
        ctypes.string_at(0)
    if how == "hang":
        while True:
            time.sleep(0)
    if how == "hang in a native loop":
        ctypes.CDLL(None).pause()
    if how == "memory":
        return len(bytearray(2**33))
    if how == "raise":
        raise KeyError("Doe^John")
    if how == "panic":
        raise BaseException("Doe^John")
    return how


def test_every_item_is_answered_once_by_several_processes():
    results = dict(over(_square, range(200), processes=2))
    assert {item: value for item, (value, _) in results.items()} == {item: item * item for item in range(200)}
    pids = {pid for _, pid in results.values()}
    assert len(pids) == 2
    assert os.getpid() not in pids


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("refuse", Refusal.CORRUPT),
        ("crash", Refusal.CRASHED),
        ("hang", Refusal.TIMEOUT),
        ("hang in a native loop", Refusal.TIMEOUT),
        ("memory", Refusal.MEMORY),
        ("raise", Refusal.CRASHED),
        ("panic", Refusal.CRASHED),
    ],
)
def test_a_bad_item_is_a_failure_and_the_rest_goes_on(how, code):
    items = ["a", how, "b", "c", "d"]
    results = dict(over(_misbehave, items, processes=2, limits=Limits(seconds=1, memory=1)))
    failure = results.pop(how)
    assert isinstance(failure, Failure)
    assert failure.code is code
    assert "Doe" not in failure.detail
    assert results == {name: name for name in "abcd"}


def test_items_are_taken_only_as_they_are_needed():
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    results = over(_square, items(), processes=1)
    next(results)
    assert len(taken) <= 3
    results.close()


def test_no_items_no_processes():
    assert list(over(_square, [])) == []
