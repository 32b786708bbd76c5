"""Ratios against peers, measured alternating in one run: a module a topic, each with ``measure() -> list[Row]``."""
