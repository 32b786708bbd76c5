"""Benchmarks follow the code that they measure."""

import importlib

import pytest

from benchmarks.run import topics


@pytest.mark.parametrize("topic", topics())
def test_a_topic_can_be_imported_and_says_what_it_is(topic):
    module = importlib.import_module(f"benchmarks.{topic}")
    assert callable(module.measure)
    assert str(module.__doc__).splitlines()[0].endswith(".")


def test_a_module_that_only_helps_is_no_topic():
    assert {"paired", "planted", "coverage", "run"}.isdisjoint(topics())
