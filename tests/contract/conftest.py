"""Which promises are looked at where."""

import pytest

LOOSE = ("TestPortOnMemory", "TestPortOnGraphQL")
"""Suites on Clouds that do not compare and set: what is promised of stricter ones only is no part of them."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not promised, instead of skipping it."""
    without = [
        item
        for item in items
        if "strict" in getattr(item, "fixturenames", ()) and any(name in item.nodeid for name in LOOSE)
    ]
    if without:
        config.hook.pytest_deselected(items=without)
        items[:] = [item for item in items if item not in set(without)]
